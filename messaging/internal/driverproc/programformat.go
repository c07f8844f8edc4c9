// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/parleymq/parley/messaging/internal/driverlog"
)

// programFormat says for people what kind of program a file is, and whether this machine
// runs it.
func programFormat(r io.ReaderAt) string {
	head := make([]byte, 256)
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	switch {
	case n == 0:
		return "the file is empty"
	case bytes.HasPrefix(head, []byte("#!")):
		return scriptFormat(head)
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return elfFormat(r)
	case bytes.HasPrefix(head, []byte("MZ")):
		return fmt.Sprintf("it is a program for Windows, this machine is %s/%s", runtime.GOOS, runtime.GOARCH)
	case bytes.HasPrefix(head, []byte("\xcf\xfa\xed\xfe")), bytes.HasPrefix(head, []byte("\xca\xfe\xba\xbe")):
		return fmt.Sprintf("it is a program for macOS, this machine is %s/%s", runtime.GOOS, runtime.GOARCH)
	default:
		return "it is neither a program nor a script that begins with #!"
	}
}

func scriptFormat(head []byte) string {
	line, _, _ := strings.Cut(string(head), "\n")
	note := ""
	if strings.HasSuffix(line, "\r") {
		note = ", with a carriage return that makes the name a wrong one"
	}
	return fmt.Sprintf("it is a script for %q%s", strings.TrimSpace(driverlog.Printable(strings.TrimPrefix(line, "#!"))), note)
}

func elfFormat(r io.ReaderAt) string {
	f, err := elf.NewFile(r)
	if err != nil {
		return "it is a damaged ELF program: " + err.Error()
	}
	defer func() { _ = f.Close() }()
	arch := elfArch(f)
	if arch != runtime.GOARCH {
		return fmt.Sprintf("it is a program for %s, this machine is %s", arch, runtime.GOARCH)
	}
	if loader := elfLoader(f); loader != "" {
		return fmt.Sprintf("it is a program for %s with the loader %s", arch, loader)
	}
	return "it is a program for " + arch
}

// elfArch is the architecture as Go names it, where Go has a name.
func elfArch(f *elf.File) string {
	little := f.Data == elf.ELFDATA2LSB
	switch {
	case f.Machine == elf.EM_X86_64 && f.Class == elf.ELFCLASS64:
		return "amd64"
	case f.Machine == elf.EM_AARCH64:
		return "arm64"
	case f.Machine == elf.EM_386:
		return "386"
	case f.Machine == elf.EM_ARM:
		return "arm"
	case f.Machine == elf.EM_RISCV && f.Class == elf.ELFCLASS64:
		return "riscv64"
	case f.Machine == elf.EM_PPC64 && little:
		return "ppc64le"
	case f.Machine == elf.EM_PPC64:
		return "ppc64"
	case f.Machine == elf.EM_S390:
		return "s390x"
	case f.Machine == elf.EM_LOONGARCH:
		return "loong64"
	default:
		return f.Machine.String()
	}
}

// elfLoader is the program that loads the shared libraries, if there are any.
func elfLoader(f *elf.File) string {
	const longest = 4096
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), longest))
		if err != nil {
			return ""
		}
		return driverlog.Printable(strings.TrimRight(string(name), "\x00"))
	}
	return ""
}
