/* Tells the instructions for a second of speech. With qemu's -icount shift=0 each takes 1 ns, a tick of 25 MHz 40 ns. */
#include <stdio.h>

#include "codec.h"

#define CONTROL (*(volatile uint32_t *)0xE000E010)
#define RELOAD (*(volatile uint32_t *)0xE000E014)
#define NOW (*(volatile uint32_t *)0xE000E018)

int main(void)
{
    static mlq_decoder decoder;
    uint8_t bytes[(MLQ_BITS + 7) / 8];
    int16_t speech[MLQ_SAMPLES];
    uint32_t state = 1;
    double ticks = 0;
    int count = 0;
    RELOAD = 0xffffff;
    NOW = 0;
    CONTROL = 5;
    mlq_init(&decoder);
    for (int i = 0; i <= 50; i++) {
        for (size_t k = 0; k < sizeof bytes; k++) {
            state = state * 1664525u + 1013904223u;
            bytes[k] = (uint8_t)(state >> 24);
        }
        uint32_t from = NOW;
        if (mlq_decode(&decoder, bytes, 0, speech)) {
            ticks += (from - NOW) & 0xffffff;
            count++;
        }
    }
    printf("%.1f\n", ticks * 40 / count * 100 / MLQ_FRAMES / 1e6);
    return 0;
}
