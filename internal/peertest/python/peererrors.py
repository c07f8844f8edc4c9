# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the peers' own, in a module that a client can be told to trust."""


class PeerError(Exception):
    """An error with keyword arguments, in the form that OpenStack projects use."""

    msg_fmt = 'the peer failed: %(reason)s'

    def __init__(self, message=None, **kwargs):
        self.kwargs = kwargs
        super().__init__(message or self.msg_fmt % kwargs)


class ExpectedPeerError(Exception):
    """An error that the server declares as expected."""
