// SPDX-License-Identifier: Apache-2.0

package tlspeer

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // old files of keys are locked so
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // as above, and the default of RFC 8018
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"hash"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	lockedType = "ENCRYPTED PRIVATE KEY"
	plainType  = "PRIVATE KEY"
	// maxIterations bounds what a file may make us compute. OpenSSL's own number is 2048.
	maxIterations = 10_000_000
)

// isLocked reports whether a PEM file has a key that is locked by a passphrase.
func isLocked(file []byte) bool { return bytes.Contains(file, []byte("ENCRYPTED")) }

// unlocked returns the file with its keys in the clear, for X509KeyPair alone.
func (s *Settings) unlocked(file []byte) ([]byte, error) {
	if s.keyPassword == "" {
		e := driver.Errorf(driver.ReasonConfig, "option %s: the key is locked by a passphrase", OptKeyFile)
		if s.options(OptKeyPassword) {
			return nil, e.WithHint("set %s, or unlock the key with: openssl pkey -in FILE -out NEWFILE", OptKeyPassword)
		}
		return nil, e.WithHint("nobody can enter the passphrase here; unlock the key with: openssl pkey -in FILE -out NEWFILE")
	}
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, file = pem.Decode(file); block == nil {
			return out.Bytes(), nil
		}
		open, err := unlock(block, []byte(s.keyPassword.Reveal()))
		if err != nil {
			return nil, driver.Errorf(driver.ReasonConfig, "options %s and %s: the key cannot be unlocked: %w", OptKeyFile, OptKeyPassword, err).
				WithHint("check the passphrase, or unlock the key with: openssl pkey -in FILE -out NEWFILE")
		}
		if err = pem.Encode(&out, open); err != nil {
			return nil, driver.Errorf(driver.ReasonConfig, "option %s: %w", OptKeyFile, err)
		}
	}
}

// unlock returns a block that needs no passphrase. One that needs none is returned as it is.
func unlock(block *pem.Block, password []byte) (*pem.Block, error) {
	if block.Type == lockedType {
		der, err := decryptPKCS8(block.Bytes, password)
		return &pem.Block{Type: plainType, Bytes: der}, err
	}
	//nolint:staticcheck // weak, as its authors say; but operators have such files
	if !x509.IsEncryptedPEMBlock(block) {
		return block, nil
	}
	der, err := x509.DecryptPEMBlock(block, password) //nolint:staticcheck // as above
	return &pem.Block{Type: block.Type, Bytes: der}, err
}

// errCipher is a key locked in a way that is not known here.
var errCipher = errors.New("it is locked in a way that is not known here (known is PBES2 with PBKDF2 and AES or triple DES)")

// The structures of RFC 5208 and RFC 8018.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2Params struct {
		KDF    pkix.AlgorithmIdentifier
		Cipher pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

// decryptPKCS8 is what OpenSSL makes of a key with a passphrase since 1.1.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var key encryptedKey
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		return nil, err
	}
	if key.Algorithm.Algorithm.String() != "1.2.840.113549.1.5.13" { // PBES2
		return nil, errCipher
	}
	var params pbes2Params
	if _, err := asn1.Unmarshal(key.Algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	newCipher, size := cipherOf(params.Cipher.Algorithm)
	if newCipher == nil {
		return nil, errCipher
	}
	derived, err := deriveKey(params.KDF, password, size)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if _, err = asn1.Unmarshal(params.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, err
	}
	block, err := newCipher(derived)
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, iv, key.Data)
}

// cipherOf is the cipher of an identifier and the size of its key, nil for one that is not known.
func cipherOf(id asn1.ObjectIdentifier) (func([]byte) (cipher.Block, error), int) {
	switch id.String() {
	case "2.16.840.1.101.3.4.1.2":
		return aes.NewCipher, 16
	case "2.16.840.1.101.3.4.1.22":
		return aes.NewCipher, 24
	case "2.16.840.1.101.3.4.1.42":
		return aes.NewCipher, 32
	case "1.2.840.113549.3.7":
		return des.NewTripleDESCipher, 24
	default:
		return nil, 0
	}
}

func deriveKey(kdf pkix.AlgorithmIdentifier, password []byte, size int) ([]byte, error) {
	if kdf.Algorithm.String() != "1.2.840.113549.1.5.12" { // PBKDF2
		return nil, errCipher
	}
	var params pbkdf2Params
	if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	if params.Iterations < 1 || params.Iterations > maxIterations {
		return nil, errors.New("it has a nonsensical number of iterations")
	}
	var h func() hash.Hash
	switch params.PRF.Algorithm.String() {
	case "", "1.2.840.113549.2.7": // the default
		h = sha1.New
	case "1.2.840.113549.2.9":
		h = sha256.New
	case "1.2.840.113549.2.11":
		h = sha512.New
	default:
		return nil, errCipher
	}
	return pbkdf2.Key(h, string(password), params.Salt, params.Iterations, size)
}

// decryptCBC decrypts and takes the padding away, which is wrong for a wrong passphrase in nearly
// all cases.
func decryptCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	n := block.BlockSize()
	if len(iv) != n || len(data) == 0 || len(data)%n != 0 {
		return nil, errors.New("it is damaged")
	}
	out := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, data)
	pad := int(out[len(out)-1])
	if pad < 1 || pad > n || !bytes.Equal(out[len(out)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, x509.IncorrectPasswordError
	}
	return out[:len(out)-pad], nil
}
