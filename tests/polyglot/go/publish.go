// Publishes one message with Go: publish HOST:PORT TOPIC KEY VALUE
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"example/ingestv1"
)

func publish(address, topic, key, value string) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	message := &ingestv1.Message{Topic: topic, Key: []byte(key), Value: []byte(value), ContentType: "text/plain"}
	request := &ingestv1.PublishRequest{Messages: []*ingestv1.Message{message}}
	response, err := ingestv1.NewIngestServiceClient(connection).Publish(ctx, request)
	if err != nil {
		return err
	}
	// OK does not mean that every message of a batch was published: check each outcome.
	for _, outcome := range response.Outcomes {
		at := outcome.GetAcknowledged()
		if at == nil {
			return fmt.Errorf("not acknowledged: %v", outcome)
		}
		fmt.Printf("%s/%d/%d\n", at.Topic, at.Partition, at.Offset)
	}
	return nil
}

// explain returns the code of an error, its reason, whether the messages were refused or are unknown, and the invalid fields.
func explain(err error) string {
	failure := status.Convert(err)
	text := failure.Code().String()
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			text += " " + detail.Reason + " " + detail.Metadata["outcome"]
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				text += " " + violation.Field
			}
		case *errdetails.RetryInfo:
			text += fmt.Sprint(" retry after ", detail.RetryDelay.AsDuration())
		}
	}
	return text
}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: publish HOST:PORT TOPIC KEY VALUE")
		os.Exit(64)
	}
	if err := publish(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(1)
	}
}
