-- Serves the fleet's certificates in an nginx with lua-nginx-module: each full
-- handshake asks the tlsfleet agent on this host, so that a renewal or a new
-- name needs no reload. Needs lua-resty-core and lua-resty-lrucache. See
-- gateway.conf for the configuration that goes with it.

local ssl = require "ngx.ssl"
local lrucache = require "resty.lrucache"

local M = {
    socket = "/run/tlsfleet/certificates.sock", -- certificates.gateway_socket of the agent
    fresh = 1,        -- seconds for which a worker does not ask again
    timeout = 3000,   -- milliseconds for the agent, which may have to ask Consul
    connections = 16, -- kept open by each worker
    names = 1000,     -- kept parsed in each worker, asked for lately
}

local cache

-- read_answer takes an HTTP answer off the socket.
local function read_answer(sock)
    local line, err = sock:receive("*l")
    if not line then
        return nil, err
    end
    local answer = { code = tonumber(line:match("^HTTP/1%.1 (%d%d%d)")) }
    if not answer.code then
        return nil, "not an answer: " .. line
    end
    local length
    repeat
        line, err = sock:receive("*l")
        if not line then
            return nil, err
        end
        local key, value = line:match("^([^:]+):%s*(.-)%s*$")
        if key then
            key = key:lower()
            if key == "etag" then
                answer.etag = value
            elseif key == "content-length" then
                length = tonumber(value)
            elseif key == "connection" and value:lower() == "close" then
                answer.last = true
            end
        end
    until line == ""
    if answer.code == 304 or answer.code == 204 then
        return answer
    end
    if not length then
        return nil, "an answer without a length"
    end
    answer.body, err = sock:receive(length)
    if not answer.body then
        return nil, err
    end
    return answer
end

-- ask gets the certificate of a name from the agent, unless it is the one with
-- the tag. A kept connection may have been closed: then it asks once more.
local function ask(name, tag)
    local request = "GET /v1/certificates/" .. ngx.escape_uri(name) .. " HTTP/1.1\r\nHost: tlsfleet\r\n"
    if tag then
        request = request .. "If-None-Match: " .. tag .. "\r\n"
    end
    request = request .. "\r\n"
    while true do
        local sock = ngx.socket.tcp()
        sock:settimeout(M.timeout)
        local ok, err = sock:connect("unix:" .. M.socket)
        if not ok then
            return nil, err
        end
        local used = sock:getreusedtimes() > 0
        local answer
        ok, err = sock:send(request)
        if ok then
            answer, err = read_answer(sock)
        end
        if answer then
            if answer.last then
                sock:close()
            else
                sock:setkeepalive(60000, M.connections)
            end
            return answer
        end
        sock:close()
        if not used or err == "timeout" then
            return nil, err
        end
    end
end

-- find is the parsed certificate and key for a name, or nil. While the agent
-- cannot tell, a certificate that it gave before is good.
local function find(name)
    cache = cache or lrucache.new(M.names)
    local have, stale = cache:get(name)
    if have then
        return have
    end
    have = stale
    local answer, err = ask(name, have and have.tag)
    if answer and answer.code == 404 then
        cache:delete(name)
        return nil
    end
    if answer and answer.code == 304 and have then
        cache:set(name, have, M.fresh)
        return have
    end
    if not answer or answer.code ~= 200 then
        ngx.log(ngx.ERR, "tlsfleet: certificate of ", name, ": ", err or answer.code)
        return have
    end
    local cert, key
    cert, err = ssl.parse_pem_cert(answer.body)
    if cert then
        key, err = ssl.parse_pem_priv_key(answer.body)
    end
    if not key then
        ngx.log(ngx.ERR, "tlsfleet: certificate of ", name, ": ", err)
        return have
    end
    have = { tag = answer.etag, cert = cert, key = key }
    cache:set(name, have, M.fresh)
    return have
end

-- serve is for ssl_certificate_by_lua_block. A name without a certificate gets
-- an alert.
function M.serve()
    local name = ssl.server_name()
    local found = name and find(name:lower())
    if not found then
        return ngx.exit(ngx.ERROR)
    end
    assert(ssl.clear_certs())
    assert(ssl.set_cert(found.cert))
    assert(ssl.set_priv_key(found.key))
end

return M
