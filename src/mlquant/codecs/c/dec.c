/* dec [--bare] [--lost PATTERN] IN.bit OUT.raw: speech, headerless 16-bit 8 kHz, of a stream of `mlquant enc`.
 * - is standard input or output. In PATTERN, which is repeated, 1 is a superframe that is lost. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"

static const uint8_t hash[8] = MLQ_HASH;

static int refuse(const char *name, const char *found)
{
    fprintf(stderr, "dec: %s: %s\n", name, found);
    return 1;
}

static int put(const int16_t *speech, int count, FILE *out)
{
    for (int i = 0; i < count; i++) {
        unsigned sample = (uint16_t)speech[i];
        if (putc((int)(sample & 255), out) == EOF || putc((int)(sample >> 8), out) == EOF)
            return 0;
    }
    return 1;
}

static int decode(FILE *in, const char *name, FILE *out, int bare, const char *lost)
{
    static mlq_decoder decoder;
    int16_t speech[MLQ_SAMPLES];
    uint8_t header[16], buffer[(MLQ_BITS + 7) / 8 + 1];
    size_t held = 0, at = 0; /* bits that the buffer holds, and the first of them that is not used */
    unsigned long expected = 0, count = 0;

    if (!bare) {
        if (fread(header, 1, sizeof header, in) != sizeof header || memcmp(header, "mlqB", 4) != 0)
            return refuse(name, "has no header of a stream (--bare for a stream without)");
        if (memcmp(header + 4, hash, sizeof hash) != 0)
            return refuse(name, "is a stream of another codec");
        for (int i = 3; i >= 0; i--)
            expected = expected << 8 | header[12 + i];
    }
    mlq_init(&decoder);
    for (int byte; !(expected && count == expected) && (byte = getc(in)) != EOF;) {
        buffer[held / 8] = (uint8_t)byte;
        held += 8;
        while (held - at >= MLQ_BITS && !(expected && count == expected)) {
            int gone = lost[0] && lost[count % strlen(lost)] == '1';
            int written = gone ? mlq_lost(&decoder, speech) : mlq_decode(&decoder, buffer, at, speech);
            if (!put(speech, written, out))
                return refuse("output", strerror(errno));
            count++;
            at += MLQ_BITS;
            /* What is left is less than a byte, in the last one. */
            buffer[0] = buffer[(held - 1) / 8];
            at -= held - 8;
            held = 8;
            if (at == 8)
                held = at = 0;
        }
    }
    if (ferror(in))
        return refuse(name, strerror(errno));
    if (!count || count < expected)
        return refuse(name, count ? "is cut off" : "has no superframe");
    if (expected ? getc(in) != EOF : held - at >= 8)
        return refuse(name, expected ? "goes on after the superframes of its header" : "is cut off");
    for (; at < held; at++)
        if (buffer[at / 8] >> (7 - at % 8) & 1)
            return refuse(name, "does not end with zeros after the last superframe");
    if (!put(speech, mlq_flush(&decoder, speech), out))
        return refuse("output", strerror(errno));
    return 0;
}

int main(int argc, char **argv)
{
    int bare = 0, i = 1;
    const char *lost = "";
    for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
        if (strcmp(argv[i], "--bare") == 0)
            bare = 1;
        else if (strcmp(argv[i], "--lost") == 0 && i + 1 < argc)
            lost = argv[++i];
        else
            break;
    }
    if (argc - i != 2 || strspn(lost, "01") != strlen(lost))
        return refuse(argc ? argv[0] : "dec", "usage: dec [--bare] [--lost PATTERN OF 0 AND 1] IN.bit OUT.raw");
    FILE *in = strcmp(argv[i], "-") ? fopen(argv[i], "rb") : stdin;
    if (!in)
        return refuse(argv[i], strerror(errno));
    FILE *out = strcmp(argv[i + 1], "-") ? fopen(argv[i + 1], "wb") : stdout;
    if (!out)
        return refuse(argv[i + 1], strerror(errno));
    int status = decode(in, argv[i], out, bare, lost);
    if (fclose(out) != 0 && !status)
        status = refuse(argv[i + 1], strerror(errno));
    if (status && strcmp(argv[i + 1], "-"))
        remove(argv[i + 1]);
    return status;
}
