// Opens a checkpoint with Go's sumdb/note: the log's signature by its own verifier, cosignatures
// (c2sp.org/tlog-cosignature, version 1) by one that states the time before it verifies.
//
// Arguments: the checkpoint's file, the log's verifier key, the cosigners' verifier keys. Prints the names of
// those whose signatures are good.
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const cosignature = 4

type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }

func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

func parse(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("no verifier key: %s", vkey)
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignature {
		return nil, fmt.Errorf("no key of a cosigner: %s", vkey)
	}
	return cosigner{parts[0], uint32(hash), ed25519.PublicKey(key[1:])}, nil
}

func main() {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	text, err := os.ReadFile(os.Args[1])
	fail(err)
	log, err := note.NewVerifier(os.Args[2])
	fail(err)
	verifiers := []note.Verifier{log}
	for _, vkey := range os.Args[3:] {
		one, err := parse(vkey)
		fail(err)
		verifiers = append(verifiers, one)
	}
	opened, err := note.Open(text, note.VerifierList(verifiers...))
	fail(err)
	for _, sig := range opened.Sigs {
		fmt.Println(sig.Name)
	}
}
