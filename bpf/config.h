// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a program is loaded with. Userspace sets the whole section with one struct before the load;
 * the verifier then sees constants and prunes the branches that this role never takes.
 */
#ifndef NW_CONFIG_H
#define NW_CONFIG_H

#include "neurowall.h"

const volatile struct nw_config nw_config;

#endif
