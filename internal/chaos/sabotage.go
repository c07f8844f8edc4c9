// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
)

// sabotage breaks promises on purpose, once each, to prove that the check can fail.
type sabotage struct {
	drop  once // an accepted cast is not run
	twice once // a call runs twice
	hang  once // a caller is kept past its time
	left  once // a file is left in the directory of the sockets
	leak  once // a goroutine is left
}

// once is something to be done once, when it is set.
type once struct{ set atomic.Bool }

func (o *once) take() bool { return o.set.CompareAndSwap(true, false) }

// Sabotages are the names for Options.Sabotage.
func Sabotages() []string { return []string{"drop", "twice", "hang", "left", "leak"} }

func (s *sabotage) plan(names []string) error {
	all := map[string]*once{"drop": &s.drop, "twice": &s.twice, "hang": &s.hang, "left": &s.left, "leak": &s.leak}
	for _, name := range names {
		o, ok := all[name]
		if !ok {
			return fmt.Errorf("there is no sabotage %q, only %v", name, Sabotages())
		}
		o.set.Store(true)
	}
	return nil
}

// atEnd leaves something behind.
func (s *sabotage) atEnd(dir string) error {
	if s.leak.take() {
		go leakForTest()
	}
	if s.left.take() {
		return os.WriteFile(filepath.Join(dir, "left"), nil, 0o600)
	}
	return nil
}

// leakForTest never ends.
func leakForTest() { select {} }

// sabotageLeak is its name in a stack.
const sabotageLeak = "github.com/parleymq/parley/internal/chaos.leakForTest"
