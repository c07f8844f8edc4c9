// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// idSize is the length of an id: a version 4 UUID in hexadecimal digits without dashes, as
// upstream makes its _msg_id and _unique_id (uuid.uuid4().hex).
const idSize = 32

// appendID appends a new id. The numbers come from the runtime's ChaCha8, which is seeded by
// the operating system and asks nobody for a lock: ids must be unique, not secret.
func appendID(dst []byte) []byte {
	var raw [idSize / 2]byte
	binary.LittleEndian.PutUint64(raw[:8], rand.Uint64()) //nolint:gosec // unique, not secret: see above
	binary.LittleEndian.PutUint64(raw[8:], rand.Uint64()) //nolint:gosec // unique, not secret: see above
	raw[6] = raw[6]&0x0f | 0x40                           // version 4
	raw[8] = raw[8]&0x3f | 0x80                           // the variant of RFC 9562
	return hex.AppendEncode(dst, raw[:])
}

// newID returns a new id.
func newID() string {
	var room [idSize]byte
	return string(appendID(room[:0]))
}

// newIDs returns two ids in one piece of memory.
func newIDs() (string, string) {
	var room [2 * idSize]byte
	both := string(appendID(appendID(room[:0])))
	return both[:idSize], both[idSize:]
}
