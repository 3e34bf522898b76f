/* A stand-in for the parts of ncrypt.h with which the agent makes, finds, uses and deletes its own key. Keys are files of
 * STAND_IN_KEYS, by name and provider; signatures are OpenSSL's. What is not freed, or used after, counts: `stand_in_live`,
 * `stand_in_misused`. STAND_IN_CODE, in hexadecimal, is what NCryptSignHash fails with.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

typedef uint32_t DWORD;
enum { MACHINE = 0x20, SILENT = 0x40 };
#define BAD_FLAGS 0x80090009u
#define BAD_KEYSET 0x80090016u

typedef struct { int live, is_key; char provider[8], path[4096]; EVP_PKEY *key; } handle;
static long live, misused;
long stand_in_live(void) { return live; }
long stand_in_misused(void) { return misused; }

static handle *made(const char *provider, int is_key) {
    handle *new = calloc(1, sizeof *new);
    new->live = 1;
    new->is_key = is_key;
    strcpy(new->provider, provider);
    live++;
    return new;
}
static int good(handle *any, int is_key) {
    if (any && any->live && any->is_key == is_key) return 1;
    misused++;
    return 0;
}

DWORD NCryptOpenStorageProvider(handle **provider, const wchar_t *name, DWORD flags) {
    if (flags) return BAD_FLAGS;
    if (!wcscmp(name, L"Microsoft Platform Crypto Provider")) *provider = made("tpm", 0);
    else if (!wcscmp(name, L"Microsoft Software Key Storage Provider")) *provider = made("soft", 0);
    else return 0x80090030u; /* NTE_DEVICE_NOT_READY */
    return 0;
}
DWORD NCryptFreeObject(handle *any) {
    if (!any || !any->live) {
        misused++;
        return 0x80090026u; /* NTE_INVALID_HANDLE */
    }
    any->live = 0;
    live--;
    return 0;
}
static handle *named(handle *provider, const wchar_t *name) {
    handle *key = made(provider->provider, 1);
    snprintf(key->path, sizeof key->path, "%s/%s-%ls", getenv("STAND_IN_KEYS"), provider->provider, name);
    return key;
}
DWORD NCryptCreatePersistedKey(handle *provider, handle **key, const wchar_t *algorithm, const wchar_t *name, DWORD spec, DWORD flags) {
    if (!good(provider, 0) || spec || flags != MACHINE || wcscmp(algorithm, L"ECDSA_P256")) return BAD_FLAGS;
    *key = named(provider, name);
    (*key)->key = EVP_EC_gen("P-256");
    return 0;
}
DWORD NCryptFinalizeKey(handle *key, DWORD flags) {
    if (!good(key, 1) || flags != SILENT) return BAD_FLAGS;
    unsigned char *der = NULL;
    int length = i2d_PrivateKey(key->key, &der);
    FILE *file = fopen(key->path, "wb");
    fwrite(der, 1, length, file);
    return fclose(file) ? 0x80090020u : 0;
}
DWORD NCryptOpenKey(handle *provider, handle **key, const wchar_t *name, DWORD spec, DWORD flags) {
    unsigned char der[4096];
    const unsigned char *at = der;
    if (!good(provider, 0) || spec || flags != (MACHINE | SILENT)) return BAD_FLAGS;
    handle *found = named(provider, name);
    FILE *file = fopen(found->path, "rb");
    if (!file) {
        NCryptFreeObject(found);
        return BAD_KEYSET;
    }
    found->key = d2i_AutoPrivateKey(NULL, &at, fread(der, 1, sizeof der, file));
    fclose(file);
    *key = found;
    return 0;
}
DWORD NCryptDeleteKey(handle *key, DWORD flags) {
    if (!good(key, 1) || flags != SILENT) return BAD_FLAGS;
    unlink(key->path);
    return NCryptFreeObject(key); /* as it does */
}
DWORD NCryptExportKey(handle *key, void *with, const wchar_t *kind, void *parameters, unsigned char *blob, DWORD room, DWORD *written, DWORD flags) {
    if (!good(key, 1) || with || parameters || flags != SILENT || wcscmp(kind, L"ECCPUBLICBLOB") || room < 72) return BAD_FLAGS;
    unsigned char point[65];
    size_t length;
    EVP_PKEY_get_octet_string_param(key->key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, sizeof point, &length);
    memcpy(blob, "ECS1\x20\0\0\0", 8);
    memcpy(blob + 8, point + 1, 64);
    *written = 72;
    return 0;
}
DWORD NCryptSignHash(handle *key, void *padding, const unsigned char *digest, DWORD length, unsigned char *raw, DWORD room, DWORD *written, DWORD flags) {
    unsigned char der[256];
    const unsigned char *at = der;
    size_t size = sizeof der;
    if (getenv("STAND_IN_CODE")) return strtoul(getenv("STAND_IN_CODE"), NULL, 16);
    if (!good(key, 1) || padding || flags != SILENT || room < 64) return BAD_FLAGS;
    EVP_PKEY_CTX *signing = EVP_PKEY_CTX_new(key->key, NULL);
    EVP_PKEY_sign_init(signing);
    EVP_PKEY_sign(signing, der, &size, digest, length);
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, size);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32);
    *written = 64;
    return 0;
}
