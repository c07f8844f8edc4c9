// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// urlVariable names the environment variable with the transport URL.
const urlVariable = "PARLEY_URL"

// maxURL bounds what is read as a URL.
const maxURL = 64 << 10

// urlFlags are the flags that name the broker.
type urlFlags struct {
	literal string
	file    string
}

func (f *urlFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.literal, "url", "", "transport URL, such as rabbit://user:password@host:5672/vhost; other users can see\nit, so a password is better given by PARLEY_URL or --url-file")
	cmd.Flags().StringVar(&f.file, "url-file", "", "file whose first line is the transport URL; - is standard input")
}

// transportURL returns the URL to use: the flags', the environment's or the configuration's.
func (a *app) transportURL(f *urlFlags) (string, error) {
	switch {
	case f.literal != "" && f.file != "":
		return "", usagef("give one of them", "both --url and --url-file are given")
	case f.literal != "":
		return f.literal, nil
	case f.file != "":
		return a.readURL(f.file)
	}
	if text := a.env(urlVariable); text != "" {
		return text, nil
	}
	switch {
	case a.config.url != "":
		if hasPassword(a.config.url) {
			a.warnReadable(a.configFile)
		}
		return a.config.url, nil
	case a.config.urlFile != "":
		return a.readURL(a.config.urlFile)
	}
	return "", usagef("set PARLEY_URL, or give --url-file or --url, such as rabbit://user:password@host:5672/",
		"no transport URL is given")
}

func (a *app) readURL(file string) (string, error) {
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", usagef("check the path after --url-file", "cannot read the transport URL: %v", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxURL)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", usagef("check the path after --url-file", "cannot read the transport URL: %v", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usagef("write the URL on the first line", "there is no transport URL in %s", nameOfFile(file))
	}
	if file != "-" && hasPassword(line) {
		a.warnReadable(file)
	}
	return line, nil
}

func nameOfFile(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

// hasPassword tells roughly whether a URL holds one.
func hasPassword(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	user, _, ok := strings.Cut(rest, "@")
	return ok && strings.Contains(user, ":")
}
