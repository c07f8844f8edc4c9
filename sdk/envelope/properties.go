// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"io"
	"strconv"
	"strings"
)

// checkProperties refuses what is not JSON in UTF-8. Python's consumer takes nothing but
// application/json; ASCII and the absent encoding are how some peers say UTF-8.
func checkProperties(contentType, encoding string) error {
	if contentType != ContentType {
		base, _, _ := strings.Cut(contentType, ";")
		if !strings.EqualFold(strings.TrimSpace(base), ContentType) {
			return &Error{Problem: "content type " + shorten(contentType) + " is not " + ContentType}
		}
	}
	switch encoding {
	case ContentEncoding, "":
		return nil
	}
	switch strings.ToLower(encoding) {
	case "utf-8", "utf8", "us-ascii", "ascii", "binary":
		return nil
	}
	return &Error{Problem: "content encoding " + shorten(encoding) + " is not " + ContentEncoding}
}

// decompress undoes the compression header of kombu (kombu/compression.py), where gzip stands
// for a zlib stream; real gzip is understood as well.
func decompress(name string, body []byte, limit int) ([]byte, error) {
	var r io.Reader
	var err error
	switch name {
	case "":
		if len(body) > limit {
			return nil, tooLarge(limit)
		}
		return body, nil
	case "application/x-gzip", "gzip", "zlib":
		if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
			r, err = gzip.NewReader(bytes.NewReader(body))
		} else {
			r, err = zlib.NewReader(bytes.NewReader(body))
		}
	case "application/x-bz2", "bzip2", "bz2":
		r = bzip2.NewReader(bytes.NewReader(body))
	default:
		return nil, &Error{Problem: "compression " + shorten(name) + " is not known"}
	}
	if err != nil {
		return nil, &Error{Problem: "the body is not what its compression header says", Err: err}
	}
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, &Error{Problem: "the body cannot be decompressed", Err: err}
	}
	if len(out) > limit {
		return nil, tooLarge(limit)
	}
	return out, nil
}

func tooLarge(limit int) error {
	return &Error{Problem: "the body is larger than " + strconv.Itoa(limit) + " bytes"}
}

// shorten quotes a property for an error. Properties come from the peer: they are bounded, and
// quoting keeps control characters out of logs.
func shorten[T string | []byte](s T) string {
	const most = 40
	text := string(s)
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strconv.Quote(text)
}
