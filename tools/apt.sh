#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian/Ubuntu packages of the given lists, if any is missing: tools/apt.sh setup test
#
# Nothing that gets installed may start listening: while apt runs, a policy-rc.d refuses every service start.
# One that is already there is respected; ours is removed again, also after a failure. With nothing missing this
# script neither needs root nor the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly policy="${NEUROWALL_POLICY_RC_D:-/usr/sbin/policy-rc.d}"
readonly mark="# neurowall tools/apt.sh: refuses service starts during an install"

say() { echo "setup: $*" >&2; }

installed() { # package: true if dpkg has it configured
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

offered() { # package: true if apt could install it (not a purely virtual name)
    local candidate
    candidate="$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')"
    [ -n "$candidate" ] && [ "$candidate" != "(none)" ]
}

wanted() { # list...: the lines of packages/<list>.txt
    local list
    for list in "$@"; do
        if [ ! -r "packages/$list.txt" ]; then
            say "no list packages/$list.txt beside tools/apt.sh"
            return 2
        fi
        sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "packages/$list.txt"
    done
}

missing() { # a|b ...: the lines of which no alternative is installed
    local line name
    for line in "$@"; do
        for name in ${line//|/ }; do
            installed "$name" && continue 2
        done
        echo "$line"
    done
}

choose() { # a|b ...: for each the first that apt offers
    local line name
    for line in "$@"; do
        for name in ${line//|/ }; do
            if offered "$name"; then
                echo "$name"
                continue 2
            fi
        done
        say "this release offers no package '$line'; install its equivalent by hand, or edit tools/packages/"
        return 1
    done
}

lift_policy() {
    if [ -f "$policy" ] && grep -qsF "$mark" "$policy"; then rm -f "$policy"; fi
}

refuse_services() { # until this script ends
    trap lift_policy EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ -e "$policy" ]; then
        grep -qsF "$mark" "$policy" || say "$policy exists: left as it is, it decides which services start"
        return 0 # one with our mark was left by a killed run: it does what is needed, and goes at the end
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy.neurowall"
    chmod 755 "$policy.neurowall"
    mv "$policy.neurowall" "$policy"
}

main() {
    local lines absent packages
    lines="$(wanted "$@")"
    if ! command -v dpkg-query >/dev/null; then
        say "this is no Debian or Ubuntu: install by hand what these name, then run the rest of the recipe:"
        tr '\n' ' ' <<<"$lines" >&2
        return 1
    fi
    # shellcheck disable=SC2086  # package names hold no spaces
    absent="$(missing $lines)"
    [ -n "$absent" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "missing packages: ${absent//$'\n'/ }"
        say "run as root:  sudo tools/apt.sh $*   and then make again"
        return 1
    fi
    refuse_services
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    apt-get -qq -o DPkg::Lock::Timeout=120 update
    # shellcheck disable=SC2086
    packages="$(choose $absent)"
    say "installing ${packages//$'\n'/ }"
    # shellcheck disable=SC2086
    apt-get -qq -o DPkg::Lock::Timeout=120 install --no-install-recommends -y $packages \
        </dev/null >/dev/null # what dpkg unpacks; errors are on stderr
}

main "$@"
