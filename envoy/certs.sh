#!/usr/bin/env bash
# Certificates for trying things out: a root, an intermediate, a server, clients. ECDSA P-256, openssl only.
#
#   certs.sh init                     the root, the intermediate, an empty list for the filter: revoked/revoked.json
#   certs.sh server [NAME...]         a server certificate for localhost and these DNS names
#   certs.sh issue NAME [OPTION...]   a client certificate, NAME.pem (with the intermediate) and NAME.key
#   certs.sh untrusted NAME [OPTION...]   the same, signed by itself: nobody vouches for it
#   certs.sh renew NAME [--days N]    a new key and certificate with the names of the one that is there
#   certs.sh revoke NAME|FILE [--reason REASON]   puts it on the next CRL and prints it as a JSON feed of the filter
#   certs.sh revoke --undo NAME|FILE  takes it off again, which only experiments may
#   certs.sh crl                      the next CRL: crl.pem and crl.der, good for a week
#   certs.sh trust NAME|FILE...       trust.pem: these authorities and no others, for a listener that rotates them
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
#
# NAME.pem and NAME.key are links through NAME.current, itself a link to one pair in .versions/. A new pair comes into force
# when a rename replaces NAME.current: never half of it, and renames into a folder are what Envoy watches.
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
    sign "$name" "$signer" "$days"
}

sign() {
    # sign NAME SIGNER DAYS [OPTION...]: what is requested in $work, with the extensions there.
    local name=$1 signer=$2 days=$3
    shift 3
    [[ $days =~ ^[1-9][0-9]*$ ]] || fail "--days $days: expected a number of days"
    local by=(-CA "$certs/$signer.pem" -CAkey "$certs/$signer.key")
    [[ $signer != "$name" ]] || by=(-signkey "$work/key")
    quietly openssl x509 -req -in "$work/request" "${by[@]}" -set_serial "0x$(serial)" -days "$days" -sha256 \
        -extfile "$work/extensions" "$@" -out "$work/certificate"
    # Who presents a leaf sends the intermediate along; a verifier has the root.
    [[ $signer != intermediate ]] || cat "$certs/intermediate.pem" >>"$work/certificate"
    publish "$name"
}

publish() {
    # publish NAME: the pair in $work comes into force, both files at one moment.
    local name=$1 version file
    version=.versions/$name-$(serial_of "$work/certificate")
    mkdir -p "$certs/$version"
    mv "$work/key" "$certs/$version/$name.key"
    mv "$work/certificate" "$certs/$version/$name.pem"
    link "$version" "$name.current"
    for file in "$name.pem" "$name.key"; do
        [[ -L $certs/$file ]] || link "$name.current/$file" "$file"
    done
}

link() {
    # link TARGET NAME: by a rename, which replaces what was there and which a watcher of the folder is told of.
    ln -s "$1" "$certs/.new-$$"
    mv -fT "$certs/.new-$$" "$certs/$2"
}

replace() {
    # replace FILE NAME: a file from $work, by a rename within the folder.
    cp "$work/$1" "$certs/.new-$$"
    mv -f "$certs/.new-$$" "$certs/$2"
}

serial() {
    # 16 random bytes, positive and without a leading zero byte (RFC 5280 section 4.1.2.2).
    printf '4%s' "$(openssl rand -hex 16 | cut -c 2-)"
}

serial_of() {
    openssl x509 -in "$1" -noout -serial | cut -d = -f 2 | tr 'A-F' 'a-f'
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
}

check_free() {
    check_name "$1"
    [[ ! $1 =~ ^(root|intermediate|server|issuer)$ ]] || fail "$1 is taken"
}

need_authority() {
    [[ -s $certs/intermediate.pem ]] || fail "there is no authority in $certs; start with: certs.sh init"
}

file_of() {
    # file_of NAME|FILE: where that certificate is.
    local file=${1:-}
    [[ -n $file ]] || fail "a name or a file is missing; certs.sh help"
    [[ $file == */* || $file == *.pem ]] || file=$certs/$file.pem
    [[ -s $file ]] || fail "there is no $file; certs.sh issue makes a certificate"
    openssl x509 -in "$file" -noout 2>/dev/null || fail "$file holds no certificate in PEM"
    echo "$file"
}

need_issued() {
    # need_issued FILE: the intermediate has signed it. (`verify` alone would take the intermediate itself, too.)
    need_authority
    local issuer authority
    issuer=$(openssl x509 -in "$1" -noout -issuer_hash)
    authority=$(openssl x509 -in "$certs/intermediate.pem" -noout -subject_hash)
    if [[ $issuer != "$authority" ]] ||
        ! openssl verify -partial_chain -no_check_time -trusted "$certs/intermediate.pem" "$1" >/dev/null 2>&1; then
        fail "$1 is not signed by $certs/intermediate.pem, whose certificates alone can be renewed and revoked;" \
            "make others anew"
    fi
}

leaf() {
    # leaf SIGNER NAME [OPTION...]; SIGNER may be "itself".
    local signer=$1 name=${2:-} cn ou= o= days=90 sans=()
    [[ -n $name ]] || fail "a name is missing; certs.sh help"
    check_free "$name"
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

# --- The revocation list ---------------------------------------------------------------------------------------------
# .crl/index is the database of `openssl ca`, with the revoked certificates alone; .crl/number is the next CRL's number.

open_list() {
    # A copy to work on, so that a failure leaves all as it was.
    need_authority
    mkdir "$work/crl"
    [[ ! -d $certs/.crl ]] || cp "$certs/.crl/"* "$work/crl"
    [[ -s $work/crl/number ]] || echo 01 >"$work/crl/number"
    touch "$work/crl/index"
    cat >"$work/ca.cnf" <<EOF
[ca]
default_ca = intermediate
[intermediate]
database = $work/crl/index
unique_subject = no
crlnumber = $work/crl/number
crl_extensions = crl_extensions
default_crl_days = 7
default_md = sha256
[crl_extensions]
authorityKeyIdentifier = keyid:always
EOF
}

list() {
    # list OPTION...: `openssl ca` on that copy.
    quietly openssl ca -config "$work/ca.cnf" -cert "$certs/intermediate.pem" -keyfile "$certs/intermediate.key" "$@"
}

listed() {
    # listed SERIAL: whether it is revoked.
    grep -qi $'\t'"$1"$'\t' "$work/crl/index"
}

close_list() {
    # The next CRL. Its number is spent before anybody can read it.
    local number=$((16#$(<"$work/crl/number"))) until file
    list -gencrl -out "$work/crl.pem"
    until=$(openssl crl -in "$work/crl.pem" -noout -nextupdate | cut -d = -f 2)
    quietly openssl crl -in "$work/crl.pem" -outform DER -out "$work/crl.der"
    mkdir -p "$certs/.crl"
    for file in index number; do replace "crl/$file" ".crl/$file"; done
    for file in crl.der crl.pem; do replace "$file" "$file"; done
    echo "$certs/crl.pem  number $number, $(wc -l <"$work/crl/index") revoked, good until $until"
}

# --- Commands --------------------------------------------------------------------------------------------------------

init() {
    mkdir -p "$certs/revoked"
    # In a folder of its own, which Envoy watches. `revoke` prints what may stand in it.
    [[ -s $certs/revoked/revoked.json ]] || echo '{"sha256": []}' >"$certs/revoked/revoked.json"
    if [[ -s $certs/intermediate.pem ]]; then
        echo "$certs has an authority already; remove the folder to begin anew"
        return
    fi
    create root root root "/O=Example/CN=Example Root CA" 3650
    create intermediate root intermediate "/O=Example/CN=Example Issuing CA" 1825
    crl
    trust root
    echo "$certs/root.pem  the trust anchor: trusted_ca, curl --cacert"
}

server() {
    need_authority
    local sans="DNS:localhost,IP:127.0.0.1,IP:::1" name
    for name in "$@"; do sans+=",DNS:$name"; done
    create server intermediate server "/CN=localhost" 90 "$sans"
    echo "$certs/server.pem"
}

renew() {
    local name=${1:-} days=90 former
    [[ -n $name ]] || fail "a name is missing; certs.sh help"
    check_name "$name"
    if (($# > 1)); then
        [[ $# == 3 && $2 == --days ]] || fail "renew takes NAME and --days N; certs.sh help"
        days=$3
    fi
    former=$(file_of "$name")
    need_issued "$former"
    former=$(readlink -f "$former")
    new_key "$work/key"
    # The names and usages of the former certificate are copied; what depends on a key is made anew.
    quietly openssl x509 -x509toreq -in "$former" -signkey "$work/key" -copy_extensions copyall -out "$work/request"
    printf '%s\n' subjectKeyIdentifier=hash authorityKeyIdentifier=keyid >"$work/extensions"
    sign "$name" intermediate "$days" -copy_extensions copyall
    echo "$certs/$name.pem  x5t#S256 $(thumbprint "$name")"
    echo "${former#"$PWD/"}  the former one, good until $(openssl x509 -in "$former" -noout -enddate | cut -d = -f 2)"
}

revoke() {
    if [[ ${1:-} == --undo ]]; then
        shift
        (($# < 2)) || fail "revoke --undo takes a name or a file and nothing else; certs.sh help"
        undo_revoke "$@"
        return
    fi
    local file serial reason=
    file=$(file_of "${1:-}")
    if (($# > 1)); then
        [[ $# == 3 && $2 == --reason ]] || fail "revoke takes a name or a file, and --reason REASON; certs.sh help"
        reason=$3
        [[ $reason =~ ^(keyCompromise|affiliationChanged|superseded|cessationOfOperation|certificateHold)$ ]] ||
            fail "--reason $reason: expected keyCompromise, affiliationChanged, superseded," \
                "cessationOfOperation or certificateHold"
    fi
    need_issued "$file"
    open_list
    serial=$(serial_of "$file")
    ! listed "$serial" || fail "$file is revoked already (serial $serial); certs.sh renew makes another one"
    list -revoke "$file" ${reason:+-crl_reason "$reason"}
    close_list
    # Either list would do. The issuer is printed as the filter prints it.
    printf '{"sha256": ["%s"], "serials": [{"issuer": "%s", "serial": "%s"}]}\n' \
        "$(openssl x509 -in "$file" -outform DER | openssl dgst -sha256 -r | cut -c -64)" \
        "$(openssl x509 -in "$file" -noout -issuer -nameopt RFC2253 | cut -d = -f 2-)" "$serial"
}

undo_revoke() {
    local file serial
    file=$(file_of "${1:-}")
    need_issued "$file"
    open_list
    serial=$(serial_of "$file")
    listed "$serial" || fail "$file is not revoked (serial $serial): there is nothing to undo"
    sed -i "/\t$serial\t/Id" "$work/crl/index"
    close_list
}

trust() {
    (($#)) || fail "the authorities to trust are missing, such as: certs.sh trust root"
    local each file
    for each in "$@"; do
        file=$(file_of "$each")
        [[ $(openssl x509 -in "$file" -noout -ext basicConstraints 2>/dev/null) == *CA:TRUE* ]] ||
            fail "$file is not an authority's certificate; trust takes those alone"
        openssl x509 -in "$file" >>"$work/trust.pem"
    done
    replace trust.pem trust.pem
    echo "$certs/trust.pem  trusts $*"
}

crl() {
    open_list
    close_list
}

thumbprint() {
    local file
    file=$(file_of "${1:-}")
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
    renew) renew "$@" ;;
    revoke) revoke "$@" ;;
    trust) trust "$@" ;;
    crl) crl ;;
    thumbprint) thumbprint "$@" ;;
    example) example ;;
    help | -h | --help) usage ;;
    *) fail "unknown command $command; certs.sh help" ;;
esac
