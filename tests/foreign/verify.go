// This file is part of TryCoTon.  The COPYRIGHT file at the top level of
// this repository contains the full copyright notices and license terms.

// Verify a log by the packages of Go's checksum database.
//
//	verify tiles FOLDER VKEY [OLD-CHECKPOINT...]
//	verify proof FILE VKEY ENTRY
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// The paths of tlog-tiles name no height, and call the records entries
type reader struct{ folder string }

func (r reader) Height() int { return height }

func (r reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(r.folder, path(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return strings.Replace(path, "tile/data/", "tile/entries/", 1)
}

func open(data []byte, vkey string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	signed, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tree, errors.New("not a checkpoint of this log")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func entries(folder string, size int64) (all [][]byte, err error) {
	for first := int64(0); first < size; first += 1 << height {
		tile := tlog.Tile{H: height, L: -1, N: first >> height, W: 1 << height}
		if size-first < 1<<height {
			tile.W = int(size - first)
		}
		data, err := os.ReadFile(filepath.Join(folder, path(tile)))
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			if len(data) < 2 {
				return nil, errors.New("the bundle is cut")
			}
			length := int(binary.BigEndian.Uint16(data))
			if len(data) < 2+length {
				return nil, errors.New("the bundle is cut")
			}
			all = append(all, data[2:2+length])
			data = data[2+length:]
		}
	}
	if int64(len(all)) != size {
		return nil, errors.New("the bundles have another size")
	}
	return all, nil
}

func tiles(folder, vkey string, olds []string) error {
	data, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := open(data, vkey)
	if err != nil {
		return err
	}
	// It checks each tile up to the root
	hashes := tlog.TileHashReader(tree, reader{folder})
	records, err := entries(folder, tree.N)
	if err != nil {
		return err
	}
	for index, record := range records {
		proof, err := tlog.ProveRecord(tree.N, int64(index), hashes)
		if err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
		err = tlog.CheckRecord(
			proof, tree.N, tree.Hash, int64(index), tlog.RecordHash(record))
		if err != nil {
			return fmt.Errorf("record %d: %w", index, err)
		}
	}
	for _, name := range olds {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		old, err := open(data, vkey)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		err = tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Printf("%d records, %d checkpoints\n", tree.N, len(olds))
	return nil
}

func proof(file, vkey, entry string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, checkpoint, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a proof")
	}
	tree, err := open(checkpoint, vkey)
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(
		strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var hashes tlog.RecordProof
	for _, line := range lines[2:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		hashes = append(hashes, hash)
	}
	record, err := base64.StdEncoding.DecodeString(entry)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(
		hashes, tree.N, tree.Hash, index, tlog.RecordHash(record))
}

func main() {
	err := errors.New("tiles or proof?")
	switch os.Args[1] {
	case "tiles":
		err = tiles(os.Args[2], os.Args[3], os.Args[4:])
	case "proof":
		err = proof(os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
