// SPDX-License-Identifier: Apache-2.0

package sieve

// format is what a format code says of the value behind it, as far as go-amqp reads such values.
type format struct {
	known     bool
	container bool
	array     bool
	prefix    uint8 // bytes of the size, and as many of the count of a container
	width     uint8 // bytes of a value without a prefix
	key       bool  // can be the key of a map
}

// formats are those that go-amqp reads: not char, the decimals, and what AMQP does not define.
var formats = makeFormats()

func makeFormats() (table [256]format) {
	for _, code := range []byte{0x40, 0x41, 0x42, 0x43, 0x44, 0x45} {
		table[code] = format{known: true, key: code != 0x40 && code != 0x45}
	}
	for width, codes := range map[uint8][]byte{
		1: {0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56}, 2: {0x60, 0x61}, 4: {0x70, 0x71, 0x72}, 8: {0x80, 0x81, 0x82, 0x83}, 16: {0x98},
	} {
		for _, code := range codes {
			table[code] = format{known: true, width: width, key: true}
		}
	}
	for _, code := range []byte{0xa0, 0xa1, 0xa3} {
		table[code] = format{known: true, prefix: 1, key: code != 0xa0}
		table[code+0x10] = format{known: true, prefix: 4, key: code != 0xa0}
	}
	for _, code := range []byte{0xc0, 0xc1, 0xe0} {
		table[code] = format{known: true, container: true, array: code == 0xe0, prefix: 1}
		table[code+0x10] = format{known: true, container: true, array: code == 0xe0, prefix: 4}
	}
	return table
}
