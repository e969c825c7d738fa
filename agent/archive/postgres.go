package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tlsfleet/tlsfleet/agent/fleet"
)

// table has one row for each object of each fleet.
const table = `create table if not exists tlsfleet_objects (
	fleet text not null,
	name text not null,
	data bytea not null,
	modified timestamptz not null default clock_timestamp(),
	primary key (fleet, name)
)`

// The statements, which pgx prepares once for each connection.
const (
	putRow = `insert into tlsfleet_objects (fleet, name, data) values ($1, $2, $3)
		on conflict (fleet, name) do update set data = excluded.data, modified = clock_timestamp()`
	getRow    = `select data from tlsfleet_objects where fleet = $1 and name = $2`
	listRows  = `select name, modified from tlsfleet_objects where fleet = $1 and left(name, length($2)) = $2`
	deleteRow = `delete from tlsfleet_objects where fleet = $1 and name = $2`
)

type postgres struct {
	config *pgxpool.Config
	fleet  string

	mu   sync.Mutex
	pool *pgxpool.Pool // nil before it is needed first
	made bool          // the table is there
}

// Postgres is the archive of a fleet in a PostgreSQL database; dsn is a
// connection string. It does not talk to it yet.
func Postgres(dsn fleet.Secret, fleetName string) (Archive, error) {
	config, err := pgxpool.ParseConfig(string(dsn.Reveal()))
	if err != nil {
		return nil, errors.New("open PostgreSQL: the connection string cannot be read: write it as host=... dbname=... user=... password=... or as postgres://user@host/dbname")
	}
	config.MaxConns, config.MinConns = 8, 0
	config.MaxConnIdleTime = time.Minute
	config.ConnConfig.ConnectTimeout = 10 * time.Second
	return &postgres{config: config, fleet: fleetName}, nil
}

// table makes the pool of connections and the table, once. Who may not make one may use one that is there.
func (p *postgres) table(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made {
		return nil
	}
	if p.pool == nil {
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), p.config)
		if err != nil {
			return errors.New("open PostgreSQL: the connection string cannot be used") // the cause may show the password
		}
		p.pool = pool
	}
	var there bool
	err := p.pool.QueryRow(ctx, `select to_regclass('tlsfleet_objects') is not null`).Scan(&there)
	if err == nil && !there {
		_, err = p.pool.Exec(ctx, table)
	}
	if err != nil {
		return fmt.Errorf("make table: %w", err)
	}
	p.made = true
	return nil
}

func (p *postgres) Put(ctx context.Context, name string, data []byte) error {
	err := CheckName(name)
	if err == nil {
		err = p.table(ctx)
	}
	if err == nil {
		_, err = p.pool.Exec(ctx, putRow, p.fleet, name, data)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

func (p *postgres) Get(ctx context.Context, name string) (data []byte, err error) {
	if err = CheckName(name); err == nil {
		err = p.table(ctx)
	}
	if err == nil {
		err = p.pool.QueryRow(ctx, getRow, p.fleet, name).Scan(&data)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrMissing
	}
	if err == nil && len(data) > MaxObject {
		err = fmt.Errorf("it is larger than %d bytes", MaxObject)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

func (p *postgres) List(ctx context.Context, prefix string, each func(Object)) error {
	if err := p.table(ctx); err != nil {
		return fmt.Errorf("list archive: %w", err)
	}
	rows, err := p.pool.Query(ctx, listRows, p.fleet, prefix)
	if err != nil {
		return fmt.Errorf("list archive: %w", err)
	}
	var o Object
	_, err = pgx.ForEachRow(rows, []any{&o.Name, &o.Modified}, func() error {
		if CheckName(o.Name) == nil {
			each(Object{strings.Clone(o.Name), o.Modified})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list archive: %w", err)
	}
	return nil
}

func (p *postgres) Delete(ctx context.Context, name string) error {
	err := CheckName(name)
	if err == nil {
		err = p.table(ctx)
	}
	if err == nil {
		_, err = p.pool.Exec(ctx, deleteRow, p.fleet, name)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func (p *postgres) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pool != nil {
		p.pool.Close()
	}
}
