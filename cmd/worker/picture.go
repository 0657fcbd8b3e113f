package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay"
)

// Pictures do not fit into commands: they lie in an object store, and commands refer to them as obj://BUCKET/NAME. The worker
// that carries a command out uploads what it refers to.

// picturesMaxAge is how long a picture is kept: as long as outcomes are by default, which is far longer than a command is
// tried, and not for ever, since complaints show people's affairs. Whoever wants another age makes the bucket beforehand.
const picturesMaxAge = 2160 * time.Hour

// picturesBucket is where `worker send` puts pictures. Its objects are named after their contents, so that each is there once.
func (c *Config) picturesBucket() jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket:      c.NATS.Prefix + "-pictures",
		Description: "pictures that complaint commands refer to, named by their SHA-256",
		TTL:         picturesMaxAge,
		Storage:     jetstream.FileStorage,
		Replicas:    c.NATS.Replicas,
	}
}

// pictures are those that a command line names.
type pictures struct {
	bucket jetstream.ObjectStoreConfig
	files  []*picture // to be put there, each once
}

// picture is a file that WeChat Pay takes.
type picture struct {
	name   string // of the object: SHA-256 in lower-case hex, and the extension that fits the content
	digest string // as the object store writes it
	data   []byte
}

// references reads the pictures that a flag names, and returns what a command says of them. The error is about the command
// line: a file that WeChat Pay would refuse, no file at all, a reference that is none.
func (p *pictures) references(flag string, named []string) (references []string, err error) {
	var problems []error
	for _, value := range named {
		reference, err := p.reference(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s %s: %w", flag, oneLine(value), err))
		}
		references = append(references, reference)
	}
	if len(problems) > 0 {
		return nil, &exitError{exitUsage, errors.Join(problems...)}
	}
	return references, nil
}

// reference is what a command says of one picture: of a file, the name it will have in the bucket.
func (p *pictures) reference(value string) (string, error) {
	bucket, _, isRef := messages.ParsePictureRef(value)
	if !isRef {
		name, err := p.add(value)
		return messages.PictureRef(p.bucket.Bucket, name), err
	}
	if bucket == "" {
		return "", errors.New("expected obj://BUCKET/NAME, BUCKET of 1 to 64 characters A-Z a-z 0-9 _ -, NAME of 1 to 256 bytes without control characters")
	}
	return value, nil
}

// add reads a file, and returns the name under which it will be in the bucket.
func (p *pictures) add(file string) (name string, err error) {
	data, err := readPicture(file)
	if err != nil {
		return "", err
	}
	kind, ok := wxpay.ImageType(data)
	if !ok {
		return "", errors.New("expected a JPG, BMP or PNG, by its content")
	}
	sum := sha256.Sum256(data)
	name = hex.EncodeToString(sum[:]) + "." + kind
	if !slices.ContainsFunc(p.files, func(known *picture) bool { return known.name == name }) {
		p.files = append(p.files, &picture{name: name, digest: "SHA-256=" + base64.URLEncoding.EncodeToString(sum[:]), data: data})
	}
	return name, nil
}

// readPicture reads a file, but not more than can be sent.
func readPicture(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("expected a file, or obj://BUCKET/NAME (a media id goes by its own flag): %w", reason(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, wxpay.MaxImageBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("expected a readable file: %w", reason(err))
	case len(data) > wxpay.MaxImageBytes:
		return nil, fmt.Errorf("expected at most %d bytes (2 MiB)", wxpay.MaxImageBytes)
	}
	return data, nil
}

// reason is why a file could not be read, without its name, which is told already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// put stores the pictures that are not there yet.
func (p *pictures) put(ctx context.Context, c *client) error {
	if len(p.files) == 0 {
		return nil
	}
	store, age, err := c.openPictures(ctx, p.bucket)
	if err != nil {
		return err
	}
	for _, f := range p.files {
		if err := f.put(ctx, store, age); err != nil {
			return fmt.Errorf("put picture %s into bucket %s: %w", f.name, p.bucket.Bucket, err)
		}
	}
	return nil
}

// openPictures opens the bucket, as somebody made it, or makes it. age is how long it keeps what it holds; 0 is for ever.
func (c *client) openPictures(ctx context.Context, want jetstream.ObjectStoreConfig) (store jetstream.ObjectStore, age time.Duration, err error) {
	store, err = c.js.ObjectStore(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		store, err = c.js.CreateObjectStore(ctx, want)
		if errors.Is(err, jetstream.ErrBucketExists) { // another sender was first
			store, err = c.js.ObjectStore(ctx, want.Bucket)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("there is no bucket %s for pictures, and it cannot be made: %w (who may: nats object add %[1]s --ttl=2160h)", want.Bucket, err)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open bucket %s: %w", want.Bucket, err)
	}
	status, err := store.Status(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read bucket %s: %w", want.Bucket, err)
	}
	return store, status.TTL(), nil
}

// put stores the picture unless the same is there already, and stays for a while: one whose time is half over is put again,
// since the command that refers to it may have to wait.
func (f *picture) put(ctx context.Context, store jetstream.ObjectStore, age time.Duration) error {
	there, err := store.GetInfo(ctx, f.name)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
	case err != nil:
		return err
	case there.Digest == f.digest && (age == 0 || time.Since(there.ModTime) < age/2):
		return nil
	}
	_, err = store.PutBytes(ctx, f.name, f.data)
	return err
}
