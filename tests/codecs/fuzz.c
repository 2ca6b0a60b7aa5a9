/* fuzz STREAM COUNT SEED: decodes so many streams as `dec` does, each of which is the beginning of STREAM, at random
 * with wrong bits and bytes, cut off, longer than it says, with another header, bare, or with superframes lost. */
#include <stdio.h>
#include <stdlib.h>

/* What `dec` says of streams is not shown; what a sanitizer says is. */
static FILE *nowhere;
#undef stderr
#define stderr nowhere
#define main main_of_dec
#include "dec.c"
#undef main

enum { LONGEST = 16 + 6 * (MLQ_BITS + 7) / 8 + 8 };
static uint64_t state;

static unsigned draw(unsigned below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((state >> 33) % below);
}

/* Change `bytes`, of which there is room for LONGEST; returns how many there are then. */
static size_t mutate(uint8_t *bytes, size_t length)
{
    if (draw(4) > 0)
        memset(bytes + 12, 0, 4); /* a header that does not know the number of superframes */
    for (unsigned changes = draw(8); changes > 0; changes--) {
        size_t from = draw(16) ? 16 : 0, at = length > from ? from + draw((unsigned)(length - from)) : 0;
        size_t run = length ? 1 + draw((unsigned)(length - at)) : 0;
        switch (draw(5)) {
        case 0:
            bytes[at] = (uint8_t)draw(256);
            break;
        case 1:
            memset(bytes + at, draw(2) ? 255 : 0, run);
            break;
        case 2:
            for (size_t i = 0; i < run; i++)
                bytes[at + i] = (uint8_t)draw(256);
            break;
        case 3:
            length = draw(8) ? length : at;
            break;
        default:
            bytes[at] ^= (uint8_t)(1 << draw(8));
        }
    }
    for (unsigned more = draw(8) ? 0 : draw(9); more > 0; more--)
        bytes[length++] = (uint8_t)draw(256);
    return length;
}

int main(int argc, char **argv)
{
    static const char *patterns[] = {"", "", "", "1", "01", "0001"};
    uint8_t original[LONGEST], bytes[LONGEST + 1];
    long speech = 0, refused = 0;
    if (argc != 4)
        return 2;
    FILE *stream = fopen(argv[1], "rb"), *out = tmpfile();
    nowhere = fopen("/dev/null", "w");
    if (!stream || !out || !nowhere)
        return 2;
    size_t held = fread(original, 1, LONGEST - 8, stream);
    state = strtoull(argv[3], NULL, 10);
    for (long i = strtol(argv[2], NULL, 10); i > 0; i--) {
        int bare = draw(8) == 0;
        memcpy(bytes, original, held);
        size_t length = mutate(bytes, held - draw((unsigned)(held - 16)));
        FILE *in = fmemopen(bytes, length ? length : 1, "rb");
        if (!in)
            return 2;
        rewind(out);
        refused += decode(in, "stream", out, bare, patterns[draw(6)]);
        speech += ftell(out) / 2;
        fclose(in);
    }
    printf("%ld refused, %ld samples\n", refused, speech);
    return 0;
}
