// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package sdk

import "io/fs"

// ours is not known.
func ours(fs.FileInfo) bool { return false }
