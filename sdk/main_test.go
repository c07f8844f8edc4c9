// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/url"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

// roleVariable makes the test program act as a driver.
const roleVariable = "PARLEY_SDK_TEST_ROLE"

func TestMain(m *testing.M) {
	// A host starts it with nothing but go-plugin's variables.
	if os.Getenv(roleVariable) == "driver" || os.Getenv(bridge.Handshake().MagicCookieKey) != "" {
		Serve(chatty{BaseDriver{Info: driver.Info{Name: "chatty", Version: "1.2.3", Summary: "talks too much"}}}, nil)
	}
	goleak.VerifyTestMain(m)
}

// chatty is a driver whose libraries print and log in every way, again and again, and which can
// do nothing else.
type chatty struct{ BaseDriver }

func (chatty) Open(_ context.Context, c driver.Config) (driver.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	conn := &chattyConn{cancel: cancel, ended: make(chan struct{})}
	if len(c.Hosts) > 0 {
		conn.password = c.Hosts[0].Password.Reveal()
	}
	c.Report(driver.State{Phase: driver.Ready})
	go conn.talk(ctx, c.Logger)
	return conn, nil
}

type chattyConn struct {
	BaseConn
	cancel   context.CancelFunc
	ended    chan struct{}
	password string
}

func (c *chattyConn) talk(ctx context.Context, logger *slog.Logger) {
	defer close(c.ended)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		logger.Debug("debug of the driver", "n", n)
		logger.Error("error of the driver", "n", n)
		slog.Debug("debug of a library", "n", n)
		slog.Warn("warning of a library", "n", n)
		log.Printf("log.Printf of a library, %d", n)
		_, _ = fmt.Fprintf(os.Stderr, "printed to standard error\n")
		_, _ = fmt.Fprintf(os.Stdout, "printed to standard output\n")
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Ping tells the password to everybody, and ends the process with it.
func (c *chattyConn) Ping(ctx context.Context) error {
	slog.Error("a record with "+c.password, "password", c.password, "url", "chatty://u:"+url.QueryEscape(c.password)+"@h")
	log.Printf("log.Printf with %s", c.password)
	_, _ = fmt.Fprintf(os.Stderr, "standard error with %s\n", c.password)
	_, _ = fmt.Fprintf(os.Stdout, "standard output with %s\n", c.password)
	go panic("cannot log in with " + c.password)
	<-ctx.Done()
	return ctx.Err()
}

func (c *chattyConn) Close(context.Context) error {
	c.cancel()
	<-c.ended
	slog.Error("the connection was closed")
	return nil
}
