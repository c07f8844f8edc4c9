// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"unicode/utf8"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Queues implements driver.QueueInspector. A driver that cannot, or is from before the call, fails
// with ReasonUnsupported.
func (c *Conn) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	for _, t := range append([]driver.NotificationTopic{{Topic: pool}}, topics...) {
		if !utf8.ValidString(t.Exchange) || !utf8.ValidString(t.Topic) || !utf8.ValidString(t.Priority) {
			return nil, driver.Errorf(driver.ReasonUnsupported, "the name of a topic or pool is not valid UTF-8")
		}
	}
	r, err := c.peer.client.Queues(ctx, &pb.QueuesRequest{
		Conn: c.id, Epoch: c.peer.epoch, Topics: topicsToProto(topics), Pool: pool,
	})
	if err != nil {
		return nil, FromGRPC(err)
	}
	if n := len(r.GetQueues()); n > len(topics) {
		return nil, protocolError("the driver told of %d queues for %d topics", n, len(topics))
	}
	queues := make([]driver.QueueStatus, 0, len(r.GetQueues()))
	for _, q := range r.GetQueues() {
		queues = append(queues, queueFromProto(q))
	}
	return queues, nil
}

// Queues implements the service.
func (s *Server) Queues(ctx context.Context, r *pb.QueuesRequest) (_ *pb.QueuesResponse, err error) {
	defer s.recoverTo("Queues", &err)
	sc, err := s.conn(r.GetEpoch(), r.GetConn())
	if err != nil {
		return nil, ToGRPC(err)
	}
	inspector, ok := sc.conn.(driver.QueueInspector)
	if !ok {
		return nil, ToGRPC(driver.Errorf(driver.ReasonUnsupported, "driver %s cannot tell what waits in queues", s.info.Name))
	}
	queues, err := inspector.Queues(ctx, topicsFromProto(r.GetTopics()), r.GetPool())
	if err != nil {
		return nil, ToGRPC(err)
	}
	out := &pb.QueuesResponse{Queues: make([]*pb.QueueStatus, 0, len(queues))}
	for _, q := range queues {
		out.Queues = append(out.Queues, queueToProto(q))
	}
	return out, nil
}

func queueToProto(q driver.QueueStatus) *pb.QueueStatus {
	return &pb.QueueStatus{
		Name: clip(q.Name), Pool: clip(q.Pool), Topics: topicsToProto(q.Topics),
		Exists: q.Exists, Messages: q.Messages, Consumers: q.Consumers,
	}
}

func queueFromProto(p *pb.QueueStatus) driver.QueueStatus {
	return driver.QueueStatus{
		Name: clip(p.GetName()), Pool: clip(p.GetPool()), Topics: topicsFromProto(p.GetTopics()),
		Exists: p.GetExists(), Messages: p.GetMessages(), Consumers: p.GetConsumers(),
	}
}

func topicsToProto(topics []driver.NotificationTopic) []*pb.NotificationTopic {
	if len(topics) == 0 {
		return nil
	}
	out := make([]*pb.NotificationTopic, 0, len(topics))
	for _, n := range topics {
		out = append(out, &pb.NotificationTopic{Exchange: n.Exchange, Topic: n.Topic, Priority: n.Priority})
	}
	return out
}

func topicsFromProto(topics []*pb.NotificationTopic) []driver.NotificationTopic {
	if len(topics) == 0 {
		return nil
	}
	out := make([]driver.NotificationTopic, 0, len(topics))
	for _, n := range topics {
		out = append(out, driver.NotificationTopic{Exchange: n.GetExchange(), Topic: n.GetTopic(), Priority: n.GetPriority()})
	}
	return out
}
