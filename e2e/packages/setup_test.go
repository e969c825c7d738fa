package packages

import "testing"

// setup makes a host of the machine: Consul as a service, nginx with a server
// of the operator's own, and a CA with a certificate to import.
const setup = `
printf '127.0.0.1 localhost\n::1 localhost\n' >/etc/hosts
cat >/etc/systemd/system/consul.service <<X
[Unit]
After=network.target
[Service]
ExecStart=/usr/local/bin/consul agent -server -bootstrap-expect=1 -node=host -data-dir=/var/lib/consul -bind=127.0.0.1
X
printf '[Install]\nWantedBy=multi-user.target\n' >>/etc/systemd/system/consul.service
mkdir -p /etc/nginx/own
cd /etc/nginx/own
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem
cert() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -keyout $1.key -out $1.csr
	printf "subjectAltName=DNS:$1\n" >$1.ext
	openssl x509 -req -in $1.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile $1.ext -out $1.crt
	mv $1.crt $1.pem
}
cert own.test
cert fleet.test
cat >/etc/nginx/conf.d/own.conf <<X
# Hot enough to be compiled, where that is allowed.
init_by_lua_block { local x = 0 for i = 1, 100000 do x = x + i end }
ssl_session_timeout 1h;
server {
	listen 443 ssl default_server;
	server_name own.test;
	ssl_certificate /etc/nginx/own/own.test.pem;
	ssl_certificate_key /etc/nginx/own/own.test.key;
	location / { return 200 "own\n"; }
}
X
systemctl daemon-reload
systemctl enable --now consul
`

// configure is what README.md tells the operator to do after an installation.
const configure = `
grep ^include /usr/share/doc/tlsfleet/examples/nginx.conf >/etc/nginx/conf.d/00-fleet.conf
systemctl restart nginx
sed -i 's/^fleet = .*/fleet = "shop"/
	s/^certificates {/&\n  mode = "variable"\n  listen = ["8443 ssl"]/
	s/^nginx {/&\n  old_worker_limit = "2s"/
	s/^reload {/&\n  splay = "100ms"\n  min_interval = "100ms"/' /etc/tlsfleet/tlsfleet.hcl
tlsfleet keyring init
systemctl enable --now tlsfleet
`

const (
	proved   = `tlsfleet status`
	provedIt = "proved by 1 of 1 nodes in service"
	ticket   = `openssl s_client -connect 127.0.0.1:443 -servername own.test -tls1_2 -CAfile /etc/nginx/own/ca.pem`
)

// host boots a machine with Consul and nginx, and packages v1.0.0 and v1.1.0
// in /mnt/given.
func host(t *testing.T, packager string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	m := boot(t, packages(t, packager))
	m.sh(t, setup)
	m.await(t, "consul operator raft list-peers", "leader")
	return m
}
