// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// javaOptions are those of every Java program here, which has a directory of its own.
func javaOptions(dir string) []string {
	return []string{
		"-Xms64m", "-Xmx256m", "-XX:MaxDirectMemorySize=512m", "-XX:+UseSerialGC",
		"-XX:TieredStopAtLevel=1", // starts in half the time
		"-XX:-UsePerfData",        // no file outside of its directory
		"-Djava.io.tmpdir=" + dir,
	}
}

// launchJava starts a Java program and returns when it has printed ready.
func launchJava(ctx context.Context, name, dir string, args []string, ready string) (*process, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, missing("a Java runtime", err)
	}
	p, err := startProcess(processSpec{
		name: name, path: java, args: args, dir: dir,
		env: []string{markVariable + "=" + dir, "PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8"},
	})
	if err != nil {
		return nil, err
	}
	if err := p.waitOutput(ctx, ready); err != nil {
		p.kill()
		return nil, err
	}
	return p, nil
}

// What Java programs read their key and certificate from.
const (
	keyStore         = "keystore.p12"
	keyStorePassword = "keystore"
)

// writeKeyStore writes a key and its certificate, when there are any, to keyStore in dir. Broker-J
// itself reads PEM files of RSA keys only.
func writeKeyStore(dir string, files *TLSFiles) error {
	if files == nil {
		return nil
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		return missing("openssl", err)
	}
	cmd := exec.CommandContext(context.Background(), openssl, "pkcs12", "-export", "-inkey", files.Key, "-in", files.Cert,
		"-passout", "pass:"+keyStorePassword, "-out", filepath.Join(dir, keyStore))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write a key store: %w: %s", err, out)
	}
	return nil
}

// jarDir is where install.sh copies the jars of a program.
func jarDir(name string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "java", name)
	// install.sh writes this file last.
	if _, err := os.Stat(filepath.Join(dir, "installed.xml")); err != nil {
		return "", err
	}
	return dir, nil
}
