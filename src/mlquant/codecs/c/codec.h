/* The decoder of a codec of mlquant: bits of superframes in, 8 kHz speech out.
 *
 * All that changes is in one struct, whose size is a constant; nothing is allocated and no state is global. A decoder
 * gives the speech of a superframe when the one after it has come, as the network looks at that.
 */
#ifndef MLQ_CODEC_H
#define MLQ_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "tables.h"

#define MLQ_FRAME 80                           /* samples of a frame of 10 ms */
#define MLQ_SAMPLES (MLQ_FRAME * MLQ_FRAMES)   /* samples of a superframe */
#define MLQ_SHAPE (20 * MLQ_FRAMES)            /* numbers of the shape of a superframe */
#define MLQ_KNOWN (2 * MLQ_FRAMES + 3)         /* numbers that tell energy, voicing and pitch beside the shape */
#define MLQ_POINTS 79                          /* points of a spectrum, 50 Hz apart */
#define MLQ_FFT 512

typedef struct {
    float shape[MLQ_SHAPE];
    float energy[MLQ_FRAMES];
    float log2_f0[MLQ_FRAMES];
    float Wo[MLQ_FRAMES];
    int voiced[MLQ_FRAMES];
} mlq_record;

typedef struct {
    /* Quantisers: what they predict from. */
    float energy[MLQ_FRAMES];
    float shape[MLQ_SHAPE];
    float known[MLQ_KNOWN];
    int level; /* of the last knot of pitch, -1 before the first */
    int voiced;
    /* Superframes that wait for the one after. */
    mlq_record before, own;
    int lost; /* how many are lost in a row, up to and with `own` */
    unsigned count;
    /* Synthesis: phase of the fundamental, noise in the background in dB, random numbers, overlap. */
    float phase, background;
    uint64_t random;
    float tail[MLQ_FRAME];
    /* Room to work in, which holds nothing from one call to the next. */
    float work[2][MLQ_WIDEST];
    float spectrum[MLQ_FRAMES][MLQ_POINTS];
    float re[MLQ_FFT], im[MLQ_FFT];
} mlq_decoder;

/* Begin anew: before the first superframe, and after a gap that the speech is not to bridge. */
void mlq_init(mlq_decoder *decoder);

/* Decode the superframe whose MLQ_BITS bits begin at bit `at` of the bytes, the highest bit of a byte first.
 * Writes the speech of the superframe before and returns MLQ_SAMPLES, or 0 for the first. */
int mlq_decode(mlq_decoder *decoder, const uint8_t *bytes, size_t at, int16_t speech[MLQ_SAMPLES]);

/* The same for a superframe that is lost. It lies on lines between those around it; if the one after is lost, too, energy
 * and shape are predicted, pitch and voicing stay, and the speech fades. */
int mlq_lost(mlq_decoder *decoder, int16_t speech[MLQ_SAMPLES]);

/* At the end: the speech of the last superframe. Returns MLQ_SAMPLES, or 0 if there is none; then begins anew. */
int mlq_flush(mlq_decoder *decoder, int16_t speech[MLQ_SAMPLES]);

#endif
