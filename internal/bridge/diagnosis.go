// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Bounds of the texts of a finding, in bytes.
const (
	maxFindingTopic  = 64
	maxFindingDetail = 1 << 10
	maxFindingHint   = 4 << 10
)

// Diagnose implements driver.Diagnoser. A driver that cannot, or is from before the call, fails with
// ReasonUnsupported.
func (c *Conn) Diagnose(ctx context.Context) ([]driver.Finding, error) {
	r, err := c.peer.client.Diagnose(ctx, &pb.DiagnoseRequest{Conn: c.id, Epoch: c.peer.epoch})
	if err != nil {
		return nil, FromGRPC(err)
	}
	return findingsFromProto(r)
}

func findingsFromProto(r *pb.DiagnoseResponse) ([]driver.Finding, error) {
	if n := len(r.GetFindings()); n > driver.MaxFindings {
		return nil, protocolError("the driver told of %d findings, and %d are allowed", n, driver.MaxFindings)
	}
	findings := make([]driver.Finding, 0, len(r.GetFindings()))
	for _, p := range r.GetFindings() {
		findings = append(findings, clipFinding(driver.Finding{
			Topic: p.GetTopic(), Detail: p.GetDetail(), Hint: p.GetHint(), Flaw: p.GetFlaw(),
		}))
	}
	return findings, nil
}

// Diagnose implements the service.
func (s *Server) Diagnose(ctx context.Context, r *pb.DiagnoseRequest) (_ *pb.DiagnoseResponse, err error) {
	defer s.recoverTo("Diagnose", &err)
	sc, err := s.conn(r.GetEpoch(), r.GetConn())
	if err != nil {
		return nil, ToGRPC(err)
	}
	d, ok := sc.conn.(driver.Diagnoser)
	if !ok {
		return nil, ToGRPC(driver.Errorf(driver.ReasonUnsupported, "driver %s cannot tell what it sees of its broker", s.info.Name))
	}
	findings, err := d.Diagnose(ctx)
	if err != nil {
		return nil, ToGRPC(err)
	}
	if n := len(findings); n > driver.MaxFindings {
		return nil, ToGRPC(driver.Errorf(driver.ReasonDriverBug,
			"driver %s told of %d findings, and %d are allowed (DIAG-3)", s.info.Name, n, driver.MaxFindings))
	}
	out := &pb.DiagnoseResponse{Findings: make([]*pb.Finding, 0, len(findings))}
	for _, f := range findings {
		f = clipFinding(f)
		out.Findings = append(out.Findings, &pb.Finding{Topic: f.Topic, Detail: f.Detail, Hint: f.Hint, Flaw: f.Flaw})
	}
	return out, nil
}

// clipFinding bounds foreign texts.
func clipFinding(f driver.Finding) driver.Finding {
	f.Topic, f.Detail = clipTo(f.Topic, maxFindingTopic), clipTo(f.Detail, maxFindingDetail)
	f.Hint = clipTo(f.Hint, maxFindingHint)
	return f
}
