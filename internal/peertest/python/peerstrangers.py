# SPDX-License-Identifier: Apache-2.0
"""An exception in a module that exists everywhere and that no client is told to trust."""


class StrangerError(Exception):
    """An error that a client could rebuild and must not."""
