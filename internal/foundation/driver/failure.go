// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// failure is an error as the contract has it: a gRPC status whose details hold one ErrorInfo.
func failure(reason, format string, args ...any) error {
	st := status.New(codes.InvalidArgument, fmt.Sprintf(format, args...))
	if with, err := st.WithDetails(info(reason)); err == nil {
		st = with
	}
	return st.Err()
}

func info(reason string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: "parley"}
}

// inFrame is a failure as a frame carries it.
func inFrame(err error) *pb.Status {
	st := status.Convert(err)
	out := &pb.Status{Code: int32(st.Code()), Message: st.Message()}
	for _, d := range st.Details() {
		if e, ok := d.(*errdetails.ErrorInfo); ok {
			if detail, aerr := anypb.New(e); aerr == nil {
				out.Details = append(out.Details, detail)
			}
		}
	}
	return out
}
