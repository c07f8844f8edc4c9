// SPDX-License-Identifier: Apache-2.0

package zmtp

import "bytes"

// The greeting (rfc.zeromq.org/spec/37): signature, version, mechanism, as-server, filler.
const (
	greetingSize  = 64
	greetingMinor = 11 // where the minor version stands
)

// checkGreeting judges what has arrived of a greeting, so that a client that speaks something else
// is refused by its first bytes. libzmq writes a length into the padding of the signature.
func checkGreeting(b []byte) error {
	if len(b) > 0 && b[0] != 0xff {
		return refusal("%s", guessProtocol(b))
	}
	if len(b) > 9 && b[9] != 0x7f {
		return refusal("the signature of its greeting ends in %#02x", b[9])
	}
	if len(b) > 10 && b[10] < 3 {
		return refusal("it speaks ZMTP %d, which is older than 3", b[10])
	}
	if len(b) < greetingSize {
		return nil
	}
	if mechanism := bytes.TrimRight(b[12:32], "\x00"); string(mechanism) != "NULL" {
		return refusal("%w: %s", errMechanism, quoted(mechanism))
	}
	if b[32] > 1 {
		return refusal("the as-server byte of its greeting is %#02x", b[32])
	}
	return nil
}

// guessProtocol helps who looks for a wrong port or a missing option.
func guessProtocol(b []byte) string {
	switch {
	case b[0] == 0x16 || b[0] == 0x15:
		return "it speaks TLS, and this side was told not to"
	case b[0] >= 'A' && b[0] <= 'Z':
		return "it speaks no ZMTP; its first bytes are " + quoted(b)
	default:
		return "it speaks no ZMTP 3; its first bytes are " + quoted(b)
	}
}
