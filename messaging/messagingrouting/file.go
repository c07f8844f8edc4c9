// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/parleymq/parley/messaging"
)

// readFile returns the text of a file.
func readFile(path string) (string, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, fmt.Errorf("routing file: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait
		return "", info, &messaging.Error{Code: messaging.CodeConfig, Op: path, Message: "it is not a regular file"}
	}
	text, err := readAll(path)
	if err != nil {
		return "", info, fmt.Errorf("routing file: %w", err)
	}
	return text, info, nil
}

// readAll reads what Parse takes, and a byte more of what it does not.
func readAll(path string) (text string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	return string(b), err
}
