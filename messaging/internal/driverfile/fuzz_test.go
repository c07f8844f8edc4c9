// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"fmt"
	"reflect"
	"testing"
)

// FuzzLockFile reads anything as a lock file: what is understood is written and read the same.
func FuzzLockFile(f *testing.F) {
	entry := fmt.Sprintf(`{"path":"/x","name":"x","checksum":%q,"size":1,"recorded":"2026-11-23T07:00:00Z","by":"x"}`, checksum("a"))
	for _, text := range []string{"", "{}", `{"format":1,"drivers":null}`, `{"format":1,"drivers":[` + entry + `]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := decodeLock(text)
		if err != nil {
			return
		}
		written, err := first.encode()
		if err != nil {
			return // with its line ends it is too large
		}
		second, err := decodeLock(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		again, err := second.encode()
		if err != nil || !reflect.DeepEqual(written, again) {
			t.Errorf("%s became %s, %v", written, again, err)
		}
	})
}
