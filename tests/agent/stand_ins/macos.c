/* A stand-in for the parts of CoreFoundation and Security that the agent calls: the same symbols, types and ownership, over a
 * directory. Signatures are OpenSSL's.
 *
 * STAND_IN_KEYCHAIN names the directory: `NAME.der` is a certificate, `NAME.key` its private key (PKCS #8, DER), `NAME.error` an
 * OSStatus in decimal that signing fails with, `NAME.no-pss` makes a key that offers PKCS #1 v1.5 alone. `search.error` fails the
 * search. Nothing is freed, so that whoever uses a released reference is found out: see `stand_in_live`, `stand_in_misused`.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

typedef int32_t OSStatus;
typedef long CFIndex;
enum kind { STRING = 1, DATA, ARRAY, DICTIONARY, KEYCHAIN, CERTIFICATE, IDENTITY, KEY, ERROR };

typedef struct object {
    enum kind kind;
    long references;
    CFIndex count;               /* bytes of data, values of an array, entries of a dictionary */
    unsigned char *bytes;        /* of data, and of a certificate */
    struct object **keys, **values;
    long code;                   /* of an error */
    char name[256];              /* of a constant; the entry of a certificate, identity or key */
} object;

static long live, misused;
static int interaction_allowed = 1;

long stand_in_live(void) { return live; }
long stand_in_misused(void) { return misused; }

static object *made(enum kind kind) {
    object *new = calloc(1, sizeof *new);
    new->kind = kind;
    new->references = 1;
    live++;
    return new;
}

static object *used(object *any, enum kind kind) {
    if (!any || any->references < 1 || any->kind != kind) {
        misused++;
        return NULL;
    }
    return any;
}

static object *retained(object *any) {
    if (any && any->references < 1) misused++;
    if (any && any->kind != STRING) any->references++;
    return any;
}

void CFRelease(object *any) {
    if (!any || any->references < 1 || any->kind == STRING) { /* releasing NULL crashes a program; a constant is nobody's */
        misused++;
        return;
    }
    if (--any->references) return;
    live--;
    for (CFIndex index = 0; index < any->count && any->values; index++) {
        if (any->keys && any->keys[index]->kind != STRING) CFRelease(any->keys[index]);
        if (any->values[index]->kind != STRING) CFRelease(any->values[index]);
    }
}

/* Constants: pointers to objects that live for ever. */
#define CONSTANT(symbol) static object symbol##_object = {STRING, 1, 0, 0, 0, 0, 0, #symbol}; object *symbol = &symbol##_object;
CONSTANT(kCFBooleanTrue)
CONSTANT(kSecClass)
CONSTANT(kSecClassCertificate)
CONSTANT(kSecMatchLimit)
CONSTANT(kSecMatchLimitAll)
CONSTANT(kSecReturnRef)
CONSTANT(kSecMatchSearchList)
CONSTANT(kSecKeyAlgorithmECDSASignatureMessageX962SHA256)
CONSTANT(kSecKeyAlgorithmECDSASignatureMessageX962SHA384)
CONSTANT(kSecKeyAlgorithmRSASignatureMessagePSSSHA256)
CONSTANT(kSecKeyAlgorithmRSASignatureMessagePKCS1v15SHA256)
const char kCFTypeArrayCallBacks[40], kCFTypeDictionaryKeyCallBacks[48], kCFTypeDictionaryValueCallBacks[40];

static object **copied(object **values, CFIndex count) {
    object **copies = calloc(count ? count : 1, sizeof *copies);
    for (CFIndex index = 0; index < count; index++) copies[index] = retained(values[index]);
    return copies;
}

object *CFArrayCreate(void *allocator, object **values, CFIndex count, const void *callbacks) {
    object *array = made(ARRAY);
    if (allocator || callbacks != kCFTypeArrayCallBacks) misused++;
    array->count = count;
    array->values = copied(values, count);
    return array;
}
CFIndex CFArrayGetCount(object *array) { return used(array, ARRAY) ? array->count : 0; }
object *CFArrayGetValueAtIndex(object *array, CFIndex index) { return used(array, ARRAY) ? array->values[index] : NULL; }

object *CFDataCreate(void *allocator, const unsigned char *bytes, CFIndex length) {
    object *data = made(DATA);
    if (allocator) misused++;
    data->count = length;
    data->bytes = malloc(length ? length : 1);
    memcpy(data->bytes, bytes, length);
    return data;
}
CFIndex CFDataGetLength(object *data) { return used(data, DATA) ? data->count : 0; }
const unsigned char *CFDataGetBytePtr(object *data) { return used(data, DATA) ? data->bytes : NULL; }

object *CFDictionaryCreate(void *allocator, object **keys, object **values, CFIndex count, const void *of_keys, const void *of_values) {
    object *dictionary = made(DICTIONARY);
    if (allocator || of_keys != kCFTypeDictionaryKeyCallBacks || of_values != kCFTypeDictionaryValueCallBacks) misused++;
    dictionary->count = count;
    dictionary->keys = copied(keys, count);
    dictionary->values = copied(values, count);
    return dictionary;
}
static object *value_of(object *dictionary, object *key) {
    for (CFIndex index = 0; index < dictionary->count; index++)
        if (dictionary->keys[index] == key) return dictionary->values[index];
    return NULL;
}
CFIndex CFErrorGetCode(object *error) { return used(error, ERROR) ? error->code : 0; }

/* The directory. */
static unsigned char *contents(const char *name, const char *suffix, CFIndex *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s%s", getenv("STAND_IN_KEYCHAIN"), name, suffix);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    unsigned char *bytes = malloc(65536);
    *length = fread(bytes, 1, 65535, file);
    bytes[*length] = 0;
    fclose(file);
    return bytes;
}
static int code_in(const char *name, const char *suffix) {
    CFIndex length;
    unsigned char *text = contents(name, suffix, &length);
    return text ? atoi((char *)text) : 0;
}

OSStatus SecKeychainSetUserInteractionAllowed(unsigned char allowed) {
    interaction_allowed = allowed;
    return 0;
}
OSStatus SecKeychainOpen(const char *path, object **keychain) {
    if (strcmp(path, "/Library/Keychains/System.keychain")) misused++;
    *keychain = made(KEYCHAIN);
    return 0;
}

static int by_name(const struct dirent **left, const struct dirent **right) { return strcmp((*left)->d_name, (*right)->d_name); }
static int is_keychain(object *list) { return used(list, ARRAY) && list->count == 1 && used(list->values[0], KEYCHAIN) != NULL; }

OSStatus SecItemCopyMatching(object *query, object **result) {
    struct dirent **names;
    object *found[1024];
    CFIndex count = 0;
    if (!used(query, DICTIONARY) || value_of(query, kSecClass) != kSecClassCertificate ||
        value_of(query, kSecMatchLimit) != kSecMatchLimitAll || value_of(query, kSecReturnRef) != kCFBooleanTrue ||
        !is_keychain(value_of(query, kSecMatchSearchList)))
        return -50;
    if (code_in("search", ".error")) return code_in("search", ".error");
    int listed = scandir(getenv("STAND_IN_KEYCHAIN"), &names, NULL, by_name);
    if (listed < 0) return -25294;
    for (int index = 0; index < listed; index++) {
        size_t length = strlen(names[index]->d_name);
        if (length < 5 || strcmp(names[index]->d_name + length - 4, ".der")) continue;
        object *certificate = made(CERTIFICATE);
        snprintf(certificate->name, sizeof certificate->name, "%.*s", (int)(length - 4), names[index]->d_name);
        certificate->bytes = contents(certificate->name, ".der", &certificate->count);
        found[count++] = certificate;
    }
    if (!count) return -25300;
    *result = CFArrayCreate(NULL, found, count, kCFTypeArrayCallBacks);
    for (CFIndex index = 0; index < count; index++) CFRelease(found[index]);
    return 0;
}
object *SecCertificateCopyData(object *certificate) {
    return used(certificate, CERTIFICATE) ? CFDataCreate(NULL, certificate->bytes, certificate->count) : NULL;
}
OSStatus SecIdentityCreateWithCertificate(object *list, object *certificate, object **identity) {
    CFIndex length;
    if (!is_keychain(list) || !used(certificate, CERTIFICATE)) return -50;
    if (!contents(certificate->name, ".key", &length)) return -25300;
    *identity = made(IDENTITY);
    strcpy((*identity)->name, certificate->name);
    return 0;
}
OSStatus SecIdentityCopyPrivateKey(object *identity, object **key) {
    if (!used(identity, IDENTITY)) return -50;
    *key = made(KEY);
    strcpy((*key)->name, identity->name);
    return 0;
}

static EVP_PKEY *private_key(object *key) {
    CFIndex length;
    const unsigned char *der = contents(key->name, ".key", &length);
    return d2i_AutoPrivateKey(NULL, &der, length);
}
unsigned char SecKeyIsAlgorithmSupported(object *key, CFIndex operation, object *algorithm) {
    CFIndex length;
    if (!used(key, KEY) || operation != 0 || !used(algorithm, STRING)) return 0;
    EVP_PKEY *private = private_key(key);
    int bits = EVP_PKEY_bits(private), rsa = EVP_PKEY_base_id(private) == EVP_PKEY_RSA;
    if (algorithm == kSecKeyAlgorithmRSASignatureMessagePSSSHA256) return rsa && !contents(key->name, ".no-pss", &length);
    if (algorithm == kSecKeyAlgorithmRSASignatureMessagePKCS1v15SHA256) return rsa;
    return !rsa && bits == (algorithm == kSecKeyAlgorithmECDSASignatureMessageX962SHA256 ? 256 : 384);
}
object *SecKeyCreateSignature(object *key, object *algorithm, object *data, object **error) {
    EVP_PKEY_CTX *options;
    if (!SecKeyIsAlgorithmSupported(key, 0, algorithm) || !used(data, DATA)) return NULL;
    int code = interaction_allowed ? -99999 : code_in(key->name, ".error"); /* it would have asked somebody */
    if (code) {
        *error = made(ERROR);
        (*error)->code = code;
        return NULL;
    }
    EVP_MD_CTX *signing = EVP_MD_CTX_new();
    size_t length = 1024;
    unsigned char signature[1024];
    const EVP_MD *hash = algorithm == kSecKeyAlgorithmECDSASignatureMessageX962SHA384 ? EVP_sha384() : EVP_sha256();
    EVP_DigestSignInit(signing, &options, hash, NULL, private_key(key));
    if (algorithm == kSecKeyAlgorithmRSASignatureMessagePSSSHA256) {
        EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST);
    }
    EVP_DigestSign(signing, signature, &length, data->bytes, data->count);
    EVP_MD_CTX_free(signing);
    return CFDataCreate(NULL, signature, length);
}
