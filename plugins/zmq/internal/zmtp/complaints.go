// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"log/slog"
	"sync"
	"time"
)

// complaints writes at most one warning a second, so that a flood of bad clients is none of
// records.
type complaints struct {
	log *slog.Logger

	mu     sync.Mutex
	last   time.Time // guarded by mu
	silent int       // guarded by mu; not written since last
}

func (c *complaints) warn(text string, args ...any) {
	c.mu.Lock()
	if time.Since(c.last) < time.Second {
		c.silent++
		c.mu.Unlock()
		return
	}
	silent := c.silent
	c.last, c.silent = time.Now(), 0
	c.mu.Unlock()
	if silent > 0 {
		args = append(args, "others_before", silent)
	}
	c.log.Warn(text, args...)
}
