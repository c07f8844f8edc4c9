// SPDX-License-Identifier: Apache-2.0

package messaging

import "encoding/json"

// IsSecretKey reports whether a key, of an object or a header, names a secret: password, token,
// authorization, cookie and the like, in any case, with "-", "_" or neither.
func IsSecretKey(key string) bool { return isSecretKey(key) }

// Masked returns v as JSON with the values of secret keys replaced by "***", as [Redacted] finds
// them, and nothing cut. Keys are sorted. A string that is the text of a JSON object or list is
// written anew only when a secret was in it.
func Masked(v any) (json.RawMessage, error) {
	plain, err := plainValue(v)
	if err != nil {
		return nil, &Error{Code: CodeEncoding, Op: "mask", Message: "the value cannot be encoded: " + err.Error(), Err: err}
	}
	w := redactor{whole: true}
	w.value(plain, 0)
	return w.text, nil
}
