#!/usr/bin/env bash
# Certificates for trying things out: a root, an intermediate, a server, clients. ECDSA P-256, openssl only.
#
#   certs.sh init                     the root and the intermediate
#   certs.sh server [NAME...]         a server certificate for localhost and these DNS names
#   certs.sh issue NAME [OPTION...]   a client certificate, NAME.pem (with the intermediate) and NAME.key
#   certs.sh untrusted NAME [OPTION...]   the same, signed by itself: nobody vouches for it
#   certs.sh thumbprint NAME|FILE     its x5t#S256, which a token's cnf names
#   certs.sh example                  all that envoy.yaml needs, and its clients
#
# Options of issue and untrusted:
#   --spiffe ID, --dns NAME, --email ADDRESS   subject alternative names
#   --cn NAME (default: NAME), --ou NAME, --o NAME   the subject
#   --days N (default: 90)
#
# Everything goes into the folder $CERTS (default: certs beside this script). The keys in it have no passphrase:
# these are certificates for experiments.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
certs=${CERTS:-$here/certs}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "certs.sh: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"
}

# --- Pieces ----------------------------------------------------------------------------------------------------------

quietly() {
    # openssl talks on stderr when all is well, too.
    local output
    output=$("$@" 2>&1) || fail "$* failed: $output"
}

new_key() {
    (umask 077 && quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1")
}

extensions() {
    # extensions KIND: those of a certificate of that kind, as openssl reads them.
    case $1 in
        root) echo "basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign" ;;
        intermediate) echo "basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign" ;;
        server) echo "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth" ;;
        client) echo "basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth" ;;
    esac
    echo "subjectKeyIdentifier=hash"
}

create() {
    # create NAME SIGNER KIND SUBJECT DAYS [SAN]: NAME.key and NAME.pem, signed by SIGNER (or by NAME itself).
    local name=$1 signer=$2 kind=$3 subject=$4 days=$5 san=${6:-}
    new_key "$work/key"
    {
        extensions "$kind"
        [[ $signer == "$name" ]] || echo "authorityKeyIdentifier=keyid"
        [[ -z $san ]] || echo "subjectAltName=$san"
    } >"$work/extensions"
    quietly openssl req -new -key "$work/key" -subj "$subject" -utf8 -out "$work/request"
    local by=(-CA "$certs/$signer.pem" -CAkey "$certs/$signer.key")
    [[ $signer != "$name" ]] || by=(-signkey "$work/key")
    quietly openssl x509 -req -in "$work/request" "${by[@]}" -set_serial "0x$(serial)" -days "$days" -sha256 \
        -extfile "$work/extensions" -out "$work/certificate"
    # Who presents a leaf sends the intermediate along; a verifier has the root.
    if [[ $signer == intermediate ]]; then
        cat "$certs/intermediate.pem" >>"$work/certificate"
    fi
    mv "$work/key" "$certs/$name.key"
    mv "$work/certificate" "$certs/$name.pem"
}

serial() {
    # 16 random bytes, positive and without a leading zero byte (RFC 5280 section 4.1.2.2).
    printf '4%s' "$(openssl rand -hex 16 | cut -c 2-)"
}

subject() {
    # subject TYPE VALUE...: /TYPE=VALUE..., escaped, empty values left out.
    local text=
    while (($#)); do
        if [[ -n $2 ]]; then
            local value=${2//\\/\\\\}
            text+="/$1=${value//\//\\/}"
        fi
        shift 2
    done
    echo "$text"
}

check_name() {
    [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "$1 does not do as the name of a file"
    [[ ! $1 =~ ^(root|intermediate|server|issuer)$ ]] || fail "$1 is taken"
}

need_authority() {
    [[ -s $certs/intermediate.pem ]] || fail "there is no authority in $certs; start with: certs.sh init"
}

leaf() {
    # leaf SIGNER NAME [OPTION...]; SIGNER may be "itself".
    local signer=$1 name=${2:-} cn ou= o= days=90 sans=()
    [[ -n $name ]] || fail "a name is missing; certs.sh help"
    check_name "$name"
    shift 2
    cn=$name
    while (($#)); do
        (($# > 1)) || fail "$1 needs a value"
        case $1 in
            --spiffe) sans+=("URI:$2") ;;
            --dns) sans+=("DNS:$2") ;;
            --email) sans+=("email:$2") ;;
            --cn) cn=$2 ;;
            --ou) ou=$2 ;;
            --o) o=$2 ;;
            --days) days=$2 ;;
            *) fail "unknown option $1; certs.sh help" ;;
        esac
        shift 2
    done
    [[ $signer != itself ]] || signer=$name
    create "$name" "$signer" client "$(subject O "$o" OU "$ou" CN "$cn")" "$days" "$(IFS=,; echo "${sans[*]}")"
    echo "$certs/$name.pem  x5t#S256 $(thumbprint "$name")"
}

# --- Commands --------------------------------------------------------------------------------------------------------

init() {
    if [[ -s $certs/intermediate.pem ]]; then
        echo "$certs has an authority already; remove the folder to begin anew"
        return
    fi
    mkdir -p "$certs"
    create root root root "/O=Example/CN=Example Root CA" 3650
    create intermediate root intermediate "/O=Example/CN=Example Issuing CA" 1825
    echo "$certs/root.pem  the trust anchor: trusted_ca, curl --cacert"
}

server() {
    need_authority
    local sans="DNS:localhost,IP:127.0.0.1,IP:::1" name
    for name in "$@"; do sans+=",DNS:$name"; done
    create server intermediate server "/CN=localhost" 90 "$sans"
    echo "$certs/server.pem"
}

thumbprint() {
    local file=${1:-}
    [[ -n $file ]] || fail "a name or a file is missing; certs.sh help"
    [[ $file == */* || $file == *.pem ]] || file=$certs/$file.pem
    [[ -s $file ]] || fail "there is no $file"
    openssl x509 -in "$file" -outform DER | openssl dgst -sha256 -binary | openssl base64 -A | tr '+/' '-_' | tr -d '='
    echo
}

example() {
    init
    server envoy
    leaf intermediate acme-mobile --o Acme --spiffe spiffe://prod.example/ns/acme/sa/mobile
    leaf intermediate globex-batch --o Globex --dns batch.globex.example
    leaf intermediate initech-erp --o ExampleCorp --ou internal
    leaf intermediate wallet-app --o Wallet --spiffe spiffe://prod.example/ns/wallet/sa/app
    # Of this authority, but no client of envoy.yaml.
    leaf intermediate stranger --spiffe spiffe://prod.example/ns/nowhere/sa/stranger
    # Names a client, but nobody vouches for it.
    leaf itself impostor --o Acme --spiffe spiffe://prod.example/ns/acme/sa/mobile
}

command=${1:-help}
shift || true
case $command in
    init) init ;;
    server) server "$@" ;;
    issue) need_authority && leaf intermediate "$@" ;;
    untrusted) mkdir -p "$certs" && leaf itself "$@" ;;
    thumbprint) thumbprint "$@" ;;
    example) example ;;
    help | -h | --help) usage ;;
    *) fail "unknown command $command; certs.sh help" ;;
esac
