// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
)

// dispatcher finds the method of a request among endpoints. It is upstream's
// oslo_messaging/rpc/dispatcher.py, RPCDispatcher.
type dispatcher struct{ endpoints []*Endpoint }

// find returns the method: the first endpoint, in order, that accepts namespace and version
// and has the method wins. What is not found is UnsupportedVersion when no endpoint accepts
// the namespace and version, NoSuchMethod otherwise.
func (d *dispatcher) find(method, namespace, ver string) (*exposed, error) {
	if ver == "" {
		ver = defaultVersion
	}
	v, err := parseVersion(ver)
	if err != nil {
		return nil, unsupportedVersion(ver, method)
	}
	compatible := false
	for _, e := range d.endpoints {
		if !e.accepts(namespace, v) {
			continue
		}
		compatible = true
		if x := e.find(method); x != nil {
			return x, nil
		}
	}
	if compatible {
		return nil, noSuchMethod(method)
	}
	return nil, unsupportedVersion(ver, method)
}

// errForeignRequest answers what middleware made up.
var errForeignRequest = errors.New("middleware passed on a request that is not the one received, nor a copy of it")

// runMethod is the innermost [ServerHandler]: it runs the method, or tells why there is none.
func runMethod(ctx context.Context, r *ServerRequest) (result any, err error) {
	d := r.d
	switch {
	case d == nil:
		return nil, errForeignRequest
	case d.exposed == nil:
		return nil, d.refusal
	}
	defer d.count(&err) // after the panic became an error; a goroutine that ends is counted there too
	defer recoverPanic(&result, &err)
	err = errGone
	result, err = d.exposed.run(ctx, r)
	return result, d.exposed.mark(err)
}
