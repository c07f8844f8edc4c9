// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// TestHandshake is how a connection begins, or does not.
func TestHandshake(t *testing.T) {
	plain := &amqp.ConnOptions{SASLType: amqp.SASLTypePlain("guest", "guest")}
	for name, tt := range map[string]struct {
		peer   Options
		client *amqp.ConnOptions
		fails  string // in the error's text
	}{
		"without SASL":        {},
		"PLAIN":               {client: plain},
		"ANONYMOUS":           {client: &amqp.ConnOptions{SASLType: amqp.SASLTypeAnonymous()}},
		"refused":             {peer: Options{Login: func(string, []byte) byte { return 1 }}, client: plain, fails: "code 0x1"},
		"mechanisms":          {peer: Options{Mechanisms: []string{"GSSAPI"}}, client: plain, fails: "no supported auth mechanism"},
		"no mechanism":        {peer: Options{Mechanisms: []string{}}, client: plain, fails: "no supported auth mechanism"},
		"SASL wanted":         {peer: Options{RequireSASL: true}, fails: "unexpected protocol header 0x3"},
		"garbage":             {peer: Options{Greeting: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, fails: "unexpected protocol"},
		"another header":      {peer: Options{Greeting: []byte("AMQP\x00\x00\x09\x01")}, fails: "unexpected protocol version"},
		"slow":                {peer: Options{OpenDelay: 50 * time.Millisecond}},
		"described by itself": {peer: Options{Product: "x", Capabilities: []string{"ANONYMOUS-RELAY"}, Properties: map[string]string{"a": "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := Run(t, tt.peer)
			c, err := dial(t, p, tt.client)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got %v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			product, _ := c.conn.Properties()["product"].(string)
			if product != tt.peer.Product {
				t.Errorf("the product is %q", product)
			}
			if tt.client == plain {
				if e := happens(t, p, 0, "sasl-init"); e.Fields.text(0) != "PLAIN" {
					t.Errorf("recorded %v", e.Fields)
				}
			}
			clean(t, p)
		})
	}
}

func TestClosedAfterOpen(t *testing.T) {
	p := Run(t, Options{CloseAfterOpen: &Error{NotFound, "no such host"}})
	c, err := dial(t, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-c.conn.Done()
	if err := c.conn.Err(); condition(err) != NotFound {
		t.Errorf("got %v", err)
	}
	p.SetOptions(Options{})
	_ = connect(t, p)
}

func TestSlowForEver(t *testing.T) {
	p := Run(t, Options{OpenDelay: time.Hour})
	raw := rawClient(t, p)
	raw.write(headerAMQP)
	raw.frame(0, codeOpen, List{"me"})
	happens(t, p, 0, "open")
	p.Close() // does not wait for an hour
}
