// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"path/filepath"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// TestOptions opens URLs that their driver refuses, before anything is connected.
func TestOptions(t *testing.T) {
	files := certificates(t)
	for scheme, rows := range map[string][]badURL{
		"rabbit": rabbitOptions(), "zmq": zmqOptions(files), "qpid": qpidOptions(files),
	} {
		t.Run(scheme, func(t *testing.T) {
			for _, tc := range rows {
				if tc.want == nil {
					tc.want = messaging.ErrConfig
				}
				t.Run(tc.name, tc.check)
			}
		})
	}
}

// pemFiles are an authority, a certificate with its key, and what is none of them.
type pemFiles struct{ ca, cert, key, otherKey, text, dir string }

func certificates(t *testing.T) pemFiles {
	t.Helper()
	authority := peertest.NewAuthority(t, "ours")
	one, other := authority.Issue(peertest.Issued{Name: "one"}), authority.Issue(peertest.Issued{Name: "other"})
	dir := t.TempDir()
	return pemFiles{
		ca: authority.File(), cert: one.Cert, key: one.Key, otherKey: other.Key, dir: dir,
		text: writeFile(t, filepath.Join(dir, "text"), "no certificate, and no list of peers"),
	}
}

func rabbitOptions() []badURL {
	return []badURL{
		{name: "unknown option", url: "rabbit://host/?heartbeat_timeout=5", texts: []string{"heartbeat_timeout", "heartbeat_timeout_threshold"}},
		{name: "option of another type", url: "rabbit://host/?rabbit_quorum_queue=maybe", texts: []string{"rabbit_quorum_queue"}},
		{name: "option out of range", url: "rabbit://host/?heartbeat_timeout_threshold=-1", texts: []string{"heartbeat_timeout_threshold"}},
		{name: "variant", url: "rabbit+tls13://host/", texts: []string{`no variant "tls13"`}},
	}
}

func zmqOptions(f pemFiles) []badURL {
	return []badURL{
		{name: "unknown option", url: "zmq://?zmq_heartbeet=1", texts: []string{"zmq_heartbeet", `did you mean "zmq_heartbeat"?`}},
		{name: "option of another type", url: "zmq://?zmq_window=many", texts: []string{"zmq_window", `"many"`}},
		{name: "a time of another type", url: "zmq://?zmq_heartbeat=soon", texts: []string{"zmq_heartbeat", `"soon"`}},
		{name: "option out of range", url: "zmq://?rpc_zmq_min_port=70000", texts: []string{"rpc_zmq_min_port", "65535"}},
		{name: "a choice", url: "zmq://?zmq_transport=udp", texts: []string{"zmq_transport", "auto, ipc, tcp"}},
		{name: "ports the wrong way round", url: "zmq://?rpc_zmq_min_port=9510&rpc_zmq_max_port=9501", texts: []string{"rpc_zmq_max_port=9501 is below rpc_zmq_min_port=9510"}},
		{name: "variant", url: "zmq+redys://host/", texts: []string{`no variant "redys"`, "did you mean zmq+redis?"}},
		{name: "a host", url: "zmq://far.example/", texts: []string{`the URL names the host "far.example"`, "zmq+seeds://far.example", "zmq+redis://far.example"}},
		{name: "a relative directory", url: "zmq://run/mesh", texts: []string{"zmq:///run/mesh"}},
		{name: "a directory that cannot be made", url: "zmq://" + f.text + "/mesh", texts: []string{f.text + "/mesh", "not a directory", "name one that this user can write"}},
		{name: "a file for a directory", url: "zmq://" + f.text, texts: []string{f.text}},
		{name: "a list of peers without a file", url: "zmq+static://?rpc_zmq_bind_address=127.0.0.1", texts: []string{"zmq+static needs a file of peers", "write zmq+static:///path/to/peers.json"}},
		{name: "a list of peers that is hosts", url: "zmq+static://a:9501,b:9501/?rpc_zmq_bind_address=127.0.0.1", texts: []string{"zmq+static takes a file of peers and no hosts", "zmq+seeds://"}},
		{name: "a directory for a list of peers", url: "zmq+static://" + f.dir + "?rpc_zmq_bind_address=127.0.0.1", texts: []string{f.dir + " is no file"}},
		{name: "no seeds", url: "zmq+seeds://?rpc_zmq_bind_address=127.0.0.1", texts: []string{"zmq+seeds has no seed", "zmq+seeds://host1:"}},
		{name: "open to everybody", url: "zmq+seeds://host/", texts: []string{"can be reached from other machines, and is not encrypted", "ssl=true", "rpc_zmq_bind_address=127.0.0.1", "zmq_insecure=true"}},
		{name: "a layout of Redis", url: "zmq+redis://host/?zmq_redis_layout=oslo9", texts: []string{"zmq_redis_layout", "parley, oslo8"}},
		{name: "an address that is not here", url: "zmq://?rpc_zmq_bind_address=198.51.100.7&zmq_insecure=true", want: messaging.ErrUnavailable, texts: []string{"cannot listen on tcp://198.51.100.7:0", "must be an address of this machine"}},
		{name: "TLS without files", url: "zmq://?ssl=true", texts: []string{"ssl=true needs ssl_cert_file and ssl_ca_file"}},
		{name: "TLS with files that are not there", url: "zmq://?ssl=true&ssl_ca_file=/nowhere/ca.pem&ssl_cert_file=" + f.cert + "&ssl_key_file=" + f.key, texts: []string{"/nowhere/ca.pem", "no such file"}},
		{name: "TLS with text", url: "zmq://?ssl=true&ssl_ca_file=" + f.text + "&ssl_cert_file=" + f.cert + "&ssl_key_file=" + f.key, texts: []string{"there is no certificate in " + f.text}},
		{name: "TLS with another's key", url: "zmq://?ssl=true&ssl_ca_file=" + f.ca + "&ssl_cert_file=" + f.cert + "&ssl_key_file=" + f.otherKey, texts: []string{f.cert, f.otherKey}},
	}
}

func qpidOptions(f pemFiles) []badURL {
	return []badURL{
		{name: "unknown option", url: "qpid://host/?sasl_mechanism=PLAIN", texts: []string{"sasl_mechanism", `did you mean "sasl_mechanisms"?`}},
		{name: "option of another type", url: "qpid://host/?trace=perhaps", texts: []string{"trace", "true or false"}},
		{name: "option out of range", url: "qpid://host/?reply_link_credit=0", texts: []string{"reply_link_credit", "from 1 to 2147483647"}},
		{name: "a time out of range", url: "qpid://host/?link_retry_delay=0", texts: []string{"link_retry_delay", "at least 0.05 seconds"}},
		{name: "a choice", url: "qpid://host/?addressing_mode=automatic", texts: []string{"addressing_mode", "legacy, routable, dynamic"}},
		{name: "variant", url: "qpid+ssl://host/", texts: []string{`no variant "ssl"`, "ssl=true"}},
		{name: "a mechanism", url: "qpid://u:p@host/?sasl_mechanisms=GSSAPI", texts: []string{`sasl_mechanisms="GSSAPI"`, "it has PLAIN, ANONYMOUS, EXTERNAL"}},
		{name: "Cyrus SASL", url: "qpid://host/?sasl_config_dir=/etc/sasl2", texts: []string{"does not use Cyrus SASL", "leave it out", "sasl_mechanisms"}},
		{name: "PLAIN without a user", url: "qpid://host/?sasl_mechanisms=PLAIN", texts: []string{"needs a user, and the URL has none for host:5672", "write user:password@ before the host"}},
		{name: "EXTERNAL without a certificate", url: "qpid://host/?sasl_mechanisms=EXTERNAL", texts: []string{"needs a client certificate", "ssl_cert_file"}},
		{name: "a kind of message", url: "qpid://host/?pre_settled=rpc-casts", texts: []string{`no kind of message called "rpc-casts"`, `did you mean "rpc-cast"?`}},
		{name: "all kinds of messages", url: "qpid://host/?pre_settled=everything-there-is", texts: []string{"pre_settled", "it takes notify, rpc-call, rpc-cast, rpc-reply"}},
		{name: "a key without its certificate", url: "qpid://host/?ssl=true&ssl_key_file=" + f.key, texts: []string{"option ssl_key_file is set and ssl_cert_file is not"}},
		{name: "authorities that are not there", url: "qpid://host/?ssl=true&ssl_ca_file=/nowhere/ca.pem", texts: []string{"ssl_ca_file", "/nowhere/ca.pem", "check the path"}},
		{name: "authorities that are text", url: "qpid://host/?ssl=true&ssl_ca_file=" + f.text, texts: []string{"there is no certificate in " + f.text, "PEM"}},
		{name: "another's key", url: "qpid://host/?ssl=true&ssl_cert_file=" + f.cert + "&ssl_key_file=" + f.otherKey, texts: []string{"ssl_cert_file and ssl_key_file", "belong together"}},
		{name: "a virtual host to verify that is none", url: "qpid://host/?ssl=true&ssl_verify_vhost=true", texts: []string{"ssl_verify_vhost"}},
	}
}
