/* fuzz COUNT SEED: so many superframes of garbage, some of them lost, and now and then the end of a stream. */
#include <stdio.h>
#include <stdlib.h>

#include "codec.h"

static uint64_t state;

static uint64_t draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

int main(int argc, char **argv)
{
    static mlq_decoder decoder;
    uint8_t bytes[(MLQ_BITS + 7) / 8 + 1];
    int16_t speech[MLQ_SAMPLES];
    long long sum = 0;
    if (argc != 3)
        return 2;
    state = strtoull(argv[2], NULL, 10);
    mlq_init(&decoder);
    for (long i = strtol(argv[1], NULL, 10); i > 0; i--) {
        uint64_t kind = draw() % 100;
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)(kind < 20 ? 255 * (kind & 1) : draw());
        int written = kind < 80 ? mlq_decode(&decoder, bytes, draw() % 8, speech)
                      : kind < 99 ? mlq_lost(&decoder, speech)
                                  : mlq_flush(&decoder, speech);
        for (int k = 0; k < written; k++)
            sum += speech[k];
    }
    printf("%lld\n", sum);
    return 0;
}
