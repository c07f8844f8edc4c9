// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// brokerJNode is what another process needs in order to use a Broker-J, so it is
// also what a descriptor holds.
type brokerJNode struct {
	Port         int               `json:"port"`
	PlainPort    int               `json:"plain_port"`
	TLSPort      int               `json:"tls_port,omitempty"`
	PlainTLSPort int               `json:"plain_tls_port,omitempty"`
	ExternalPort int               `json:"external_port,omitempty"`
	Users        map[string]string `json:"users"`
}

// brokerJModel is the version of the configuration's own format.
const brokerJModel = "9.1"

// object is a configured object of the broker.
type object map[string]any

// writeBrokerJ chooses the ports and writes the configuration.
func writeBrokerJ(dir string, opts BrokerJOptions) (brokerJNode, error) {
	ports, err := freePorts(5)
	if err != nil {
		return brokerJNode{}, err
	}
	node := brokerJNode{Port: ports[0], PlainPort: ports[1], Users: opts.Users}
	if opts.TLS != nil {
		node.TLSPort, node.PlainTLSPort, node.ExternalPort = ports[2], ports[3], ports[4]
	}
	if err := writeKeyStore(dir, opts.TLS); err != nil {
		return brokerJNode{}, err
	}
	config, err := brokerJConfig(dir, node, opts)
	if err != nil {
		return brokerJNode{}, err
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return brokerJNode{}, err
	}
	return node, os.WriteFile(filepath.Join(dir, "initial.json"), text, 0o600)
}

func brokerJConfig(dir string, node brokerJNode, opts BrokerJOptions) (object, error) {
	host, err := brokerJHost(opts)
	if err != nil {
		return nil, err
	}
	users := []object{}
	for name, password := range opts.Users {
		users = append(users, object{"name": name, "type": "managed", "password": password})
	}
	config := object{
		"name": "parley", "modelVersion": brokerJModel,
		"authenticationproviders": []object{
			{"name": "anonymous", "type": "Anonymous"},
			// Else it hides PLAIN from clients without TLS.
			{"name": "plain", "type": "Plain", "secureOnlyMechanisms": []string{}, "users": users},
			{"name": "external", "type": "External"},
		},
		"brokerloggers": []object{{
			"name": "stdout", "type": "Console", "consoleStreamTarget": "STDOUT",
			"brokerloginclusionrules": []object{
				{"name": "root", "type": "NameAndLevel", "level": "WARN", "loggerName": "ROOT"},
				{"name": "operational", "type": "NameAndLevel", "level": "INFO", "loggerName": "qpid.message.*"},
			},
		}},
		"virtualhostnodes": []object{{
			"name": "default", "type": "Memory", "defaultVirtualHostNode": "true", "virtualHostInitialConfiguration": host,
		}},
	}
	// A port has one authentication provider.
	ports := []object{
		brokerJPort("anonymous", node.Port, "anonymous", nil),
		brokerJPort("plain", node.PlainPort, "plain", nil),
	}
	if tls := opts.TLS; tls != nil {
		config["keystores"] = []object{{
			"name": "own", "type": "FileKeyStore", "storeUrl": filepath.Join(dir, keyStore), "password": keyStorePassword, "keyStoreType": "pkcs12",
		}}
		config["truststores"] = []object{{"name": "authority", "type": "NonJavaTrustStore", "certificatesUrl": fileURL(tls.CA)}}
		ports = append(ports,
			brokerJPort("anonymousTLS", node.TLSPort, "anonymous", object{"keyStore": "own"}),
			brokerJPort("plainTLS", node.PlainTLSPort, "plain", object{"keyStore": "own"}),
			brokerJPort("externalTLS", node.ExternalPort, "external", object{
				"keyStore": "own", "trustStores": []string{"authority"}, "needClientAuth": "true",
			}))
	}
	config["ports"] = ports
	return config, nil
}

// brokerJPort is a port of AMQP 1.0, with TLS when its attributes are given.
func brokerJPort(name string, port int, provider string, tls object) object {
	transport := "TCP"
	if tls != nil {
		transport = "SSL"
	}
	p := object{
		"name": name, "type": "AMQP", "port": strconv.Itoa(port), "bindingAddress": "127.0.0.1",
		"protocols": []string{"AMQP_1_0"}, "transports": []string{transport}, "authenticationProvider": provider,
		"virtualhostaliases": []object{
			{"name": "nameAlias", "type": "nameAlias"},
			{"name": "defaultAlias", "type": "defaultAlias"},
			{"name": "hostnameAlias", "type": "hostnameAlias"},
		},
	}
	maps.Copy(p, tls)
	return p
}

// brokerJHost is the configuration of the virtual host, which the broker wants
// as JSON in a string.
func brokerJHost(opts BrokerJOptions) (string, error) {
	host := object{"type": "Memory"}
	if !opts.NoPolicies {
		host["nodeAutoCreationPolicies"] = BrokerJPolicies(opts.Queue)
	}
	text, err := json.Marshal(host)
	return string(text), err
}

// BrokerJPolicies are the node policies of a virtual host that make
// oslo.messaging's legacy addresses work, with attributes to add to each queue.
func BrokerJPolicies(queue map[string]any) []map[string]any {
	// Else what is rejected is delivered again for ever.
	work := map[string]any{"maximumDeliveryAttempts": 5}
	fanout := map[string]any{
		// Every consumer gets its copy, and a late one none of the older ones.
		"ensureNondestructiveConsumers": true,
		"maximumMessageTtl":             60000,
		"defaultFilters":                `{"x-qpid-replay-period":{"x-qpid-replay-period":["0"]}}`,
	}
	maps.Copy(work, queue)
	maps.Copy(fanout, queue)
	return []map[string]any{
		{
			"pattern": `(exclusive|unicast)\..*`, "nodeType": "queue", "attributes": work,
			"createdOnPublish": true, "createdOnConsume": true,
		},
		{
			"pattern": `broadcast\..*`, "nodeType": "queue", "attributes": fanout,
			"createdOnPublish": true, "createdOnConsume": true,
		},
	}
}

// brokerJArgs is the command line of one start.
func brokerJArgs(dir, jars string, opts BrokerJOptions) []string {
	args := append(javaOptions(dir), opts.Java...)
	args = append(args,
		"-Dqpid.work_dir="+filepath.Join(dir, "work"),
		// Else it says that it is ready with a virtual host that is not.
		"-Dbroker.failStartupWithErroredChild=true",
		"-cp", filepath.Join(jars, "*"), "org.apache.qpid.server.Main",
		"-st", "Memory", "-icp", filepath.Join(dir, "initial.json"),
		// Else it hangs up on who has not said enough after 2 seconds, on a busy machine.
		"-prop", "qpid.port.protocol_handshake_timeout=60000")
	if opts.MaxSessions > 0 {
		args = append(args, "-prop", "qpid.port.sessionCountLimit="+strconv.Itoa(opts.MaxSessions))
	}
	for name, value := range opts.Properties {
		args = append(args, "-prop", fmt.Sprintf("%s=%s", name, value))
	}
	return args
}

func fileURL(path string) string { return (&url.URL{Scheme: "file", Path: path}).String() }
