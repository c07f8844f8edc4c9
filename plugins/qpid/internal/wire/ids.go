// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	amqp "github.com/Azure/go-amqp"
)

const (
	// maxID is the longest id in bytes, maxAddress the longest address: far above what peers send,
	// and little enough to keep.
	maxID      = 1024
	maxAddress = 4096
)

// An id has one of four types in AMQP and is text in a Message. These words tell the other three
// from text in the id of a call, because its reply has to carry the very same id. They are those of
// the JMS mapping of AMQP. Text that starts with one of them has a word of its own.
const (
	typeUUID   = "AMQP_UUID:"
	typeUlong  = "AMQP_ULONG:"
	typeBinary = "AMQP_BINARY:"
	typeString = "AMQP_STRING:"
)

// callID is the message-id of a request as text, from which messageID makes it again.
func callID(id any) (string, error) {
	var text string
	switch id := id.(type) {
	case nil:
		return "", nil
	case string:
		text = id
		if typed(id) {
			text = typeString + id
		}
	case amqp.UUID:
		text = typeUUID + id.String()
	case uint64:
		text = typeUlong + strconv.FormatUint(id, 10)
	case []byte:
		if len(id) > maxID {
			return "", tooLong("message-id", len(id), maxID)
		}
		text = typeBinary + hex.EncodeToString(id)
	default:
		return "", &Error{Problem: "the message-id is of no type that an id has"}
	}
	return text, checkID("message-id", text)
}

func typed(id string) bool {
	if !strings.HasPrefix(id, "AMQP_") {
		return false
	}
	for _, word := range [...]string{typeUUID, typeUlong, typeBinary, typeString} {
		if strings.HasPrefix(id, word) {
			return true
		}
	}
	return false
}

// messageID is the id of a request that callID was made of.
func messageID(callID string) any {
	word, rest, found := strings.Cut(callID, ":")
	if !found || !typed(callID) {
		return callID
	}
	switch word + ":" {
	case typeString:
		return rest
	case typeUlong:
		if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
			return n
		}
	case typeBinary:
		if b, err := hex.DecodeString(rest); err == nil {
			return b
		}
	case typeUUID:
		if b, err := hex.DecodeString(strings.ReplaceAll(rest, "-", "")); err == nil && len(b) == len(amqp.UUID{}) {
			return amqp.UUID(b)
		}
	}
	return callID
}

// plainID is an id as text that is only compared: a correlation-id, which was text when we sent
// it, or an id that is new for each message.
func plainID(what string, id any) (string, error) {
	var text string
	switch id := id.(type) {
	case nil:
		return "", nil
	case string:
		text = id
	case amqp.UUID:
		text = hex.EncodeToString(id[:])
	case uint64:
		text = strconv.FormatUint(id, 10)
	case []byte:
		if len(id) > maxID {
			return "", tooLong(what, len(id), maxID)
		}
		if text = string(id); !utf8.ValidString(text) {
			text = hex.EncodeToString(id)
		}
	default:
		return "", &Error{Problem: "the " + what + " is of no type that an id has"}
	}
	return text, checkID(what, text)
}

func checkID(what, text string) error { return checkText(what, text, maxID+len(typeString)) }

// checkText refuses what cannot be kept or passed on.
func checkText(what, text string, most int) error {
	if len(text) > most {
		return tooLong(what, len(text), most)
	}
	if !utf8.ValidString(text) {
		return &Error{Problem: "the " + what + " is not valid UTF-8"}
	}
	return nil
}

func tooLong(what string, size, most int) error {
	return &Error{Problem: "the " + what + " has " + strconv.Itoa(size) + " bytes and the limit is " + strconv.Itoa(most)}
}
