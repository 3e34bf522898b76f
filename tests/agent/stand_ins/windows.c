/* A stand-in for the parts of crypt32, ncrypt, advapi32 and kernel32 that the agent calls: the same names, types and numbers,
 * over a directory. Keys are CNG's; signatures are OpenSSL's.
 *
 * STAND_IN_STORE names the directory: `NAME.der` is a certificate, `NAME.key` its private key (PKCS #8, DER). `NAME.link`: the
 * certificate names a key. `NAME.acquire` and `NAME.sign` hold, in hexadecimal, the code that opening the key and signing fail
 * with; `NAME.no-pss` makes a provider without PSS; `open` fails the store. A flag that is missing where nobody may be asked, or a
 * handle used after it was freed, counts in `stand_in_misused`.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

typedef uint32_t DWORD;
typedef int32_t BOOL;

enum { SILENT = 0x40, PREFER_NCRYPT = 0x20000, COMPARE = 0x4, PSS = 0x8, PKCS1 = 0x2 };
enum { NOT_FOUND = 0x80092004u, NO_KEY_PROPERTY = 0x8009200Bu, BAD_PUBLIC_KEY = 0x80090015u, NOT_SUPPORTED = 0x80090029u };

typedef struct { DWORD encoding; unsigned char *encoded; DWORD length; void *info, *store; char name[256]; } context;
typedef struct { wchar_t *container, *provider; DWORD type, flags, parameters; void *parameter; DWORD spec; } prov_info;
typedef struct { EVP_PKEY *key; char name[256]; int live; } key_handle;
typedef struct { char names[512][256]; int count; } store;

static DWORD last;
static long live, misused;
DWORD stand_in_last_error(void) { return last; }
long stand_in_live(void) { return live; }
long stand_in_misused(void) { return misused; }

static unsigned char *contents(const char *name, const char *suffix, DWORD *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", getenv("STAND_IN_STORE"), name, suffix);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    unsigned char *bytes = malloc(65536);
    *length = fread(bytes, 1, 65535, file);
    bytes[*length] = 0;
    fclose(file);
    return bytes;
}
static DWORD code_in(const char *name, const char *suffix) {
    DWORD length;
    unsigned char *text = contents(name, suffix, &length);
    return text ? strtoul((char *)text, NULL, 16) : 0;
}
static int failed(DWORD code) {
    last = code;
    return 0;
}

static int by_name(const struct dirent **left, const struct dirent **right) { return strcmp((*left)->d_name, (*right)->d_name); }
void *CertOpenStore(void *provider, DWORD encoding, void *cryptography, DWORD flags, const wchar_t *name) {
    struct dirent **names;
    if (provider != (void *)10 || encoding || cryptography || wcscmp(name, L"MY") || !(flags & 0x8000)) misused++;
    if (code_in("open", "")) return failed(code_in("open", "")), NULL;
    store *opened = calloc(1, sizeof *opened);
    int listed = scandir(getenv("STAND_IN_STORE"), &names, NULL, by_name);
    for (int index = 0; index < listed; index++) {
        size_t length = strlen(names[index]->d_name);
        if (length < 5 || strcmp(names[index]->d_name + length - 4, ".der")) continue;
        snprintf(opened->names[opened->count++], 256, "%.*s", (int)(length - 4), names[index]->d_name);
    }
    live++;
    return opened;
}
BOOL CertCloseStore(store *opened, DWORD flags) {
    if (!opened || flags) misused++;
    live--;
    return 1;
}
BOOL CertFreeCertificateContext(context *certificate) {
    if (!certificate) misused++;
    live--;
    return 1;
}
context *CertEnumCertificatesInStore(store *opened, context *before) {
    int next = 0;
    if (before) {
        while (strcmp(opened->names[next++], before->name)) {}
        CertFreeCertificateContext(before); /* as it does */
    }
    if (next >= opened->count) return failed(NOT_FOUND), NULL;
    context *certificate = calloc(1, sizeof *certificate);
    strcpy(certificate->name, opened->names[next]);
    certificate->encoding = 1;
    certificate->encoded = contents(certificate->name, ".der", &certificate->length);
    certificate->store = opened;
    live++;
    return certificate;
}
BOOL CertControlStore(store *opened, DWORD flags, DWORD control, const void *parameter) {
    (void)opened, (void)flags, (void)control, (void)parameter;
    return failed(50); /* ERROR_NOT_SUPPORTED */
}
BOOL CertGetCertificateContextProperty(context *certificate, DWORD property, void *data, DWORD *length) {
    DWORD ignored;
    prov_info info = {L"container", L"Microsoft Software Key Storage Provider", 0, 0, 0, NULL, 0};
    if (property != 2 || !contents(certificate->name, ".link", &ignored)) return failed(NOT_FOUND);
    if (data && *length < sizeof info) return failed(234); /* ERROR_MORE_DATA */
    if (data) memcpy(data, &info, sizeof info);
    *length = sizeof info;
    return 1;
}
BOOL CryptAcquireCertificatePrivateKey(context *certificate, DWORD flags, void *window, uintptr_t *key, DWORD *spec, BOOL *ours) {
    DWORD length, code = code_in(certificate->name, ".acquire");
    const unsigned char *der = contents(certificate->name, ".key", &length);
    if (!(flags & SILENT) || !(flags & PREFER_NCRYPT) || window) misused++;
    if (code) return failed(code);
    if (!der) return failed(0x80090016u); /* NTE_BAD_KEYSET */
    key_handle *opened = calloc(1, sizeof *opened);
    opened->key = d2i_AutoPrivateKey(NULL, &der, length);
    strcpy(opened->name, certificate->name);
    const unsigned char *encoded = certificate->encoded;
    X509 *parsed = d2i_X509(NULL, &encoded, certificate->length);
    if (flags & COMPARE && EVP_PKEY_eq(X509_get0_pubkey(parsed), opened->key) != 1) return failed(BAD_PUBLIC_KEY);
    opened->live = 1;
    live++;
    *key = (uintptr_t)opened;
    *spec = 0xFFFFFFFFu; /* CERT_NCRYPT_KEY_SPEC */
    *ours = 1;
    return 1;
}
DWORD NCryptFreeObject(uintptr_t handle) {
    key_handle *key = (key_handle *)handle;
    if (!key || !key->live) misused++;
    key->live = 0;
    live--;
    return 0;
}

static DWORD ecdsa(EVP_PKEY *key, const unsigned char *digest, DWORD length, unsigned char *raw) {
    unsigned char der[256], *at = raw;
    const unsigned char *read = der;
    size_t size = sizeof der;
    int half = (EVP_PKEY_bits(key) + 7) / 8;
    EVP_PKEY_CTX *signing = EVP_PKEY_CTX_new(key, NULL);
    EVP_PKEY_sign_init(signing);
    EVP_PKEY_sign(signing, der, &size, digest, length);
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &read, size);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), at, half);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), at + half, half);
    return 2 * half;
}
typedef struct { const wchar_t *hash; DWORD salt; } padding_info;

DWORD NCryptSignHash(uintptr_t handle, padding_info *padding, const unsigned char *digest, DWORD length, unsigned char *signature,
                     DWORD room, DWORD *written, DWORD flags) {
    key_handle *key = (key_handle *)handle;
    DWORD ignored, code = code_in(key->name, ".sign");
    int is_rsa = EVP_PKEY_base_id(key->key) == EVP_PKEY_RSA;
    size_t size = EVP_PKEY_size(key->key);
    if (!key->live || !(flags & SILENT)) misused++;
    if (code) return code;
    if (is_rsa != (padding != NULL) || is_rsa != ((flags & (PSS | PKCS1)) != 0)) return 0x80090027u; /* NTE_INVALID_PARAMETER */
    if (is_rsa && (wcscmp(padding->hash, L"SHA256") || length != 32)) return 0x80090027u;
    if (flags & PSS && contents(key->name, ".no-pss", &ignored)) return NOT_SUPPORTED;
    if (!is_rsa) size = 2 * ((EVP_PKEY_bits(key->key) + 7) / 8);
    *written = size;
    if (!signature) return 0;
    if (room < size) return 0x80090028u; /* NTE_BUFFER_TOO_SMALL */
    if (!is_rsa) {
        *written = ecdsa(key->key, digest, length, signature);
        return 0;
    }
    EVP_PKEY_CTX *signing = EVP_PKEY_CTX_new(key->key, NULL);
    EVP_PKEY_sign_init(signing);
    EVP_PKEY_CTX_set_rsa_padding(signing, flags & PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING);
    EVP_PKEY_CTX_set_signature_md(signing, EVP_sha256());
    if (flags & PSS) EVP_PKEY_CTX_set_rsa_pss_saltlen(signing, padding->salt);
    size = room;
    EVP_PKEY_sign(signing, signature, &size, digest, length);
    *written = size;
    return 0;
}

/* The CryptoAPI of before runs under Wine: here it is only found. */
#define NOT_HERE(name) BOOL name(void) { misused++; return failed(120); }
NOT_HERE(CryptAcquireContextW)
NOT_HERE(CryptReleaseContext)
NOT_HERE(CryptCreateHash)
NOT_HERE(CryptHashData)
NOT_HERE(CryptSignHashW)
NOT_HERE(CryptDestroyHash)
NOT_HERE(CryptExportPublicKeyInfo)
void *CreateEventW(void *security, BOOL manual, BOOL set, const wchar_t *name) {
    (void)security, (void)manual, (void)set, (void)name;
    return &live;
}
DWORD WaitForSingleObject(void *event, DWORD milliseconds) {
    (void)event, (void)milliseconds;
    return 0xFFFFFFFFu;
}
