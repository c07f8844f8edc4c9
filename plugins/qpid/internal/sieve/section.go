// SPDX-License-Identifier: Apache-2.0

package sieve

// The sections of a message, by their descriptors.
const (
	sectionHeader                = 0x70
	sectionDeliveryAnnotations   = 0x71
	sectionAnnotations           = 0x72
	sectionProperties            = 0x73
	sectionApplicationProperties = 0x74
	sectionData                  = 0x75
	sectionSequence              = 0x76
	sectionValue                 = 0x77
	sectionFooter                = 0x78
)

// refuses says why a value of that format code may not come next, or "".
func (l *level) refuses(code byte) string {
	f := formats[code]
	switch {
	case !f.known:
		return whyType(code)
	case !l.inside:
		if !isSectionValue(l.section, code) {
			return whySection
		}
	case l.isMap && l.index%2 == 0:
		if !f.key || l.section == sectionApplicationProperties && !isText(code) {
			return whyKey
		}
	case l.section == sectionHeader || l.section == sectionProperties:
		if !isField(l.section, l.index, code) {
			return whyField
		}
	}
	return ""
}

// isSectionValue reports whether a section can be of that type. The value of sectionValue can be
// anything.
func isSectionValue(section, code byte) bool {
	switch section {
	case sectionHeader, sectionProperties, sectionSequence:
		return code == 0x45 || code == 0xc0 || code == 0xd0
	case sectionDeliveryAnnotations, sectionAnnotations, sectionApplicationProperties, sectionFooter:
		return code == 0x40 || code == 0xc1 || code == 0xd1
	case sectionData:
		return isBinary(code)
	default:
		return true
	}
}

func isBinary(code byte) bool { return code == 0xa0 || code == 0xb0 }
func isText(code byte) bool   { return code == 0xa1 || code == 0xb1 || code == 0xa3 || code == 0xb3 }
func isUint(code byte) bool   { return code == 0x43 || code == 0x52 || code == 0x70 }
func isBool(code byte) bool   { return code == 0x41 || code == 0x42 || code == 0x56 }

// isField reports whether a field of the header or of the properties is of the type that AMQP says,
// or null. More fields than there are is an error of the library.
func isField(section byte, index uint32, code byte) bool {
	var kinds []func(byte) bool
	if section == sectionHeader {
		kinds = headerFields[:]
	} else {
		kinds = propertyFields[:]
	}
	return index < uint32(len(kinds)) && (code == 0x40 || kinds[index](code))
}

// headerFields are durable, priority, ttl, first-acquirer and delivery-count.
var headerFields = [...]func(byte) bool{isBool, func(code byte) bool { return code == 0x50 }, isUint, isBool, isUint}

// propertyFields are message-id, user-id, to, subject, reply-to, correlation-id, content-type,
// content-encoding, absolute-expiry-time, creation-time, group-id, group-sequence and
// reply-to-group-id.
var propertyFields = [...]func(byte) bool{
	isSimple, isBinary, isText, isText, isText, isSimple, isText, isText, isTimestamp, isTimestamp, isText, isUint, isText,
}

func isTimestamp(code byte) bool { return code == 0x83 }
func isSimple(code byte) bool    { return !formats[code].container && code != 0x45 }
