// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/plugin/proto"
)

// answering is a driver that answers Hello as it likes, and nothing else.
type answering struct{ major uint32 }

func (a answering) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	resp, ok := reply.(*pb.HelloResponse)
	if !ok {
		return errors.New("not a Hello")
	}
	resp.ProtocolMajor, resp.Info = a.major, &pb.DriverInfo{Name: "x"}
	return nil
}

func (answering) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams")
}
