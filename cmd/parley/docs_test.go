// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the README and all of docs.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) < 5 {
		t.Fatalf("got %v, %v", docs, err)
	}
	return append(docs, "../../README.md", "../../CHANGELOG.md")
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedCommands: every command line in the documentation has a command and flags that exist.
func TestDocumentedCommands(t *testing.T) {
	line := regexp.MustCompile(`(?m)^ {4}(?:[^#\n]*\| )?(?:bin/)?parley +([^#|&\n]+)`)
	found := 0
	for _, page := range pages(t) {
		for _, m := range line.FindAllStringSubmatch(readPage(t, page), -1) {
			found++
			words := strings.Fields(m[1])
			cmd, _, err := (&app{}).rootCommand().Find(words)
			if err != nil || cmd.Name() == "parley" {
				t.Errorf("%s: %s: there is no such command: %v", page, m[1], err)
				continue
			}
			for _, word := range words {
				name, isFlag := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(name, "=")
				if isFlag && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: %s: there is no flag --%s", page, m[1], name)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d command lines: were the pages understood?", found)
	}
}

// TestLinksOfPages: what a page links to beside it exists, down to the heading.
func TestLinksOfPages(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(readPage(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if m[2] == "" {
				continue
			}
			there := false
			for _, h := range heading.FindAllStringSubmatch(readPage(t, target), -1) {
				there = there || "#"+anchor(h[1]) == m[2]
			}
			if !there {
				t.Errorf("%s: %s has no heading %s", page, target, m[2])
			}
		}
	}
}

// anchor is the name of a heading as links have it.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}
