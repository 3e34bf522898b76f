-- Asks Watchword about a request over HTTP, as /v1/authz/forward-auth wants it, and sets the variables that haproxy-lua.cfg reads: the
-- same as by SPOE. Only a 200 sets `allow` to true. No answer, a late one or an error here sets nothing, and HAProxy denies (503).

-- By way of HAProxy itself, which gives up after half a second: Lua's client would try four times and wait in between.
local ADDRESS = "http://127.0.0.1:7408/v1/authz/forward-auth"
local TIMEOUT_MS = 2000
local SECRET = os.getenv("WATCHWORD_CALLER_SECRET") or ""
local PREFIX = "x-watchword-"

local function present(value)
    return value ~= nil and value ~= ""
end

local function ask(txn)
    local headers = {
        ["x-watchword-caller-secret"] = { SECRET },
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-proto"] = { "https" },
        ["x-forwarded-host"] = { txn.sf:req_fhdr("host") },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
        ["x-forwarded-for"] = { txn.sf:src() },
    }
    local told = {
        ["x-authenticated-email"] = txn.sf:http_auth_user(),
        ["cf-access-client-id"] = txn.sf:req_fhdr("cf-access-client-id"),
        ["cf-access-client-secret"] = txn.sf:req_fhdr("cf-access-client-secret"),
        ["device-token"] = txn.sf:req_fhdr("device-token"),
        ["device-proof"] = txn.sf:req_fhdr("device-proof"),
        ["accept"] = txn.sf:req_fhdr("accept"),
    }
    local certificate = txn.f:ssl_c_der()
    if present(certificate) then
        told["x-client-cert-der"] = txn.c:base64(certificate)
    end
    for name, value in pairs(told) do
        if present(value) then
            headers[name] = { value }
        end
    end
    return core.httpclient():get { url = ADDRESS, headers = headers, timeout = TIMEOUT_MS }
end

core.register_action("watchword", { "http-req" }, function(txn)
    local asked, answer = pcall(ask, txn)
    if not asked or answer == nil or (answer.status ~= 200 and answer.status ~= 400 and answer.status ~= 403) then
        return
    end
    for name, values in pairs(answer.headers) do
        if name:sub(1, #PREFIX) == PREFIX and values[1] == nil then
            txn:set_var("txn.watchword." .. name:sub(#PREFIX + 1):gsub("-", "_"), values[0])
        end
    end
    if answer.status == 200 then
        txn:set_var("txn.watchword.allow", true)
        return
    end
    local kind = answer.headers["content-type"]
    txn:set_var("txn.watchword.content_type", kind and kind[0] or "application/json")
    txn:set_var("txn.watchword.body", (answer.body or ""):gsub("\n", " ") .. "")
    txn:set_var("txn.watchword.allow", false)
end)
