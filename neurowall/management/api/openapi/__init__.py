# SPDX-License-Identifier: Apache-2.0
"""The API's description: what each route answers. Imported only when somebody asks for it.

Routes answer with plain JSON and check nothing on the way out: the daemon pays no memory for these models,
and tests compare every answer with them.
"""
