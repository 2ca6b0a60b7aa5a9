/* The decoder of a codec of mlquant. The numbers are in tables.c; what is here is the same for every codec. */
#include "codec.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846
#define TWO_PI (2 * PI)
#define RATE 8000.0
#define MOST_HARMONICS 160
#define LN10 2.302585093f
#define PER_DB (LN10 / 20) /* expf(PER_DB * dB) is an amplitude */

/* The inner product of two rows; four sums at a time, as one has to wait for itself. */
static float product(const mlq_number *a, const float *b, int count)
{
    float sum[4] = {0, 0, 0, 0};
    int i = 0;
    for (; i + 3 < count; i += 4)
        for (int k = 0; k < 4; k++)
            sum[k] += a[i + k] * b[i + k];
    for (; i < count; i++)
        sum[0] += a[i] * b[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Quantisers */

static void advance(float *state, const mlq_quantiser *q, float share, const float *more, float *work)
{
    for (int i = 0; i < q->width; i++) {
        float sum = product(q->predictor + i * q->width, state, q->width);
        sum *= q->predictor_scale ? q->predictor_scale[i] : 1;
        work[i] = share * sum + (more ? more[i] : 0);
    }
    memcpy(state, work, (size_t)q->width * sizeof *state);
}

static void add_entries(float *state, const mlq_quantiser *q, const unsigned *indices)
{
    const mlq_number *codebook = q->codebooks;
    for (int stage = 0; stage < q->stages; stage++) {
        const mlq_number *entry = codebook + (size_t)indices[stage] * (size_t)q->width;
        const float *scale = q->codebook_scales ? q->codebook_scales + stage * q->width : NULL;
        for (int i = 0; i < q->width; i++)
            state[i] += scale ? entry[i] * scale[i] : entry[i];
        codebook += ((size_t)1 << q->bits[stage]) * (size_t)q->width;
    }
}

/* Outputs of a network of dense layers with ReLU between them; `x` and the result lie in either half of the room. */
static const float *through(const mlq_layer *layers, int count, float (*work)[MLQ_WIDEST])
{
    int from = 0;
    for (int n = 0; n < count; n++, from = 1 - from) {
        const float *x = work[from];
        const mlq_number *row = layers[n].weight;
        for (int i = 0; i < layers[n].outputs; i++, row += layers[n].inputs) {
            float sum = product(row, x, layers[n].inputs) * (layers[n].scale ? layers[n].scale[i] : 1);
            sum += layers[n].bias[i];
            work[1 - from][i] = n < count - 1 && sum < 0 ? 0 : sum;
        }
    }
    return work[from];
}

static float mean_of(const float *x, int count)
{
    float sum = 0;
    for (int i = 0; i < count; i++)
        sum += x[i];
    return sum / (float)count;
}

/* What is known beside the shape of a superframe, as numbers about one. */
static void known_of(const mlq_record *record, float known[MLQ_KNOWN])
{
    float level = mean_of(record->energy, MLQ_FRAMES);
    float *next = known;
    for (int t = 0; t < MLQ_FRAMES; t++)
        *next++ = (record->energy[t] - level) / 20;
    *next++ = level / 20 - 3;
    for (int half = 0; half < 2; half++) {
        int sum = 0;
        for (int t = 0; t < MLQ_FRAMES / 2; t++)
            sum += record->voiced[half * (MLQ_FRAMES / 2) + t];
        *next++ = (float)sum / (MLQ_FRAMES / 2);
    }
    for (int t = 0; t < MLQ_FRAMES; t++)
        *next++ = record->log2_f0[t] - 7;
}

/* From bits to a record */

typedef struct {
    const uint8_t *bytes;
    size_t at;
} reader;

static unsigned take(reader *from, int bits)
{
    unsigned value = 0;
    for (; bits > 0; bits--, from->at++)
        value = value << 1 | (from->bytes[from->at / 8] >> (7 - from->at % 8) & 1u);
    return value;
}

static void set_pitch(mlq_record *record, int t, double log2_f0)
{
    record->Wo[t] = (float)(TWO_PI / RATE * exp2(log2_f0));
    record->log2_f0[t] = log2f(record->Wo[t] * (float)(RATE / TWO_PI));
}

/* Pitch of the frames up to a knot, on a straight line from the knot before, but for the offset in the middle. */
static void pitch_to(mlq_decoder *d, mlq_record *record, int first, int level, int offset)
{
    double before = mlq_levels[d->level < 0 ? level : d->level], knot = mlq_levels[level];
    for (int i = 1; i <= MLQ_PITCH_FRAMES; i++) {
        double share = (double)i / MLQ_PITCH_FRAMES, middle = 1 - fabs(2 * share - 1);
        set_pitch(record, first + i - 1, before + (knot - before) * share + mlq_offsets[offset] * middle);
    }
    d->level = level;
}

static void record_of(mlq_decoder *d, reader *from, mlq_record *record)
{
    unsigned of_energy[MLQ_ENERGY_STAGES], of_shape[MLQ_SHAPE_STAGES];
    float known[MLQ_KNOWN], share = 1, fade = from ? 0 : MLQ_FADE_DB * (float)d->lost;
    const float *told = NULL;

    if (from) {
        for (int t = 0; t < MLQ_FRAMES; t += MLQ_VOICING_FRAMES) {
            d->voiced = (int)take(from, 1);
            for (int i = 0; i < MLQ_VOICING_FRAMES; i++)
                record->voiced[t + i] = d->voiced;
        }
        for (int t = 0; t < MLQ_FRAMES; t += MLQ_PITCH_FRAMES) {
            int level = (int)take(from, MLQ_PITCH_BITS);
            pitch_to(d, record, t, level, (int)take(from, MLQ_OFFSET_BITS));
        }
        for (int i = 0; i < MLQ_ENERGY_STAGES; i++)
            of_energy[i] = take(from, mlq_of_energy.bits[i]);
        for (int i = 0; i < MLQ_SHAPE_STAGES; i++)
            of_shape[i] = take(from, mlq_of_shape.bits[i]);
    } else {
        if (d->level < 0)
            d->level = (1 << MLQ_PITCH_BITS) / 2;
        for (int t = 0; t < MLQ_FRAMES; t++) {
            record->voiced[t] = d->voiced;
            set_pitch(record, t, mlq_levels[d->level]);
        }
    }
    advance(d->energy, &mlq_of_energy, 1, NULL, d->work[0]);
    if (from)
        add_entries(d->energy, &mlq_of_energy, of_energy);
    for (int t = 0; t < MLQ_FRAMES; t++)
        record->energy[t] = fminf(fmaxf(d->energy[t] + mlq_of_energy.mean[t] - fade, MLQ_LEAST_DB), MLQ_MOST_DB);

    known_of(record, known);
    if (MLQ_SIDE_LAYERS > 0) {
        memcpy(d->work[0], d->count ? d->known : known, sizeof known);
        memcpy(d->work[0] + MLQ_KNOWN, known, sizeof known);
        told = through(mlq_side, MLQ_SIDE_LAYERS, d->work);
        share = (1 + tanhf(told[0] / 2)) / 2;
        told++;
    }
    memcpy(d->known, known, sizeof known);
    advance(d->shape, &mlq_of_shape, share, told, d->re);
    if (from)
        add_entries(d->shape, &mlq_of_shape, of_shape);
    for (int i = 0; i < MLQ_SHAPE; i++)
        record->shape[i] = d->shape[i] + mlq_of_shape.mean[i];
}

/* From records to spectra */

static float *put_record(float *x, const mlq_record *record, float level)
{
    for (int i = 0; i < MLQ_SHAPE; i++)
        *x++ = record->shape[i] / 20;
    for (int t = 0; t < MLQ_FRAMES; t++) {
        float relative = (record->energy[t] - level) / 20;
        *x++ = relative < -2 ? -2 : relative > 2 ? 2 : relative;
    }
    for (int t = 0; t < MLQ_FRAMES; t++)
        *x++ = record->log2_f0[t] - 7;
    for (int t = 0; t < MLQ_FRAMES; t++)
        *x++ = (float)record->voiced[t];
    return x;
}

/* log of the energy of a spectrum whose values times `scale` are logs of energies. */
static float log_energy(const float *spectrum, int count, float scale)
{
    float peak = spectrum[0], sum = 0;
    for (int i = 1; i < count; i++)
        if (spectrum[i] > peak)
            peak = spectrum[i];
    for (int i = 0; i < count; i++)
        sum += expf(scale * (spectrum[i] - peak));
    return scale * peak + logf(sum);
}

/* Frame t of a shape, of its cosine transform over time. */
static void frame_of(const float *transformed, int t, float frame[20])
{
    for (int k = 0; k < 20; k++) {
        frame[k] = 0;
        for (int i = 0; i < MLQ_FRAMES; i++)
            frame[k] += mlq_over_time[i * MLQ_FRAMES + t] * transformed[20 * i + k];
    }
}

/* Spectra in dB of the superframe `own`, with the energy that was sent. */
static void spectra_of(mlq_decoder *d, const mlq_record *before, const mlq_record *own, const mlq_record *after)
{
    float level = mean_of(own->energy, MLQ_FRAMES), *x = d->work[0], shape[20];
    x = put_record(x, before, level);
    x = put_record(x, own, level);
    x = put_record(x, after, level);
    *x = level / 20 - 3;
    const float *more = through(mlq_network, MLQ_NETWORK_LAYERS, d->work);
    for (int t = 0; t < MLQ_FRAMES; t++) {
        float *spectrum = d->spectrum[t];
        frame_of(own->shape, t, shape);
        for (int j = 0; j < MLQ_POINTS; j++) {
            const float *from = shape + mlq_from[j];
            spectrum[j] = (from[0] + mlq_part[j] * (from[1] - from[0])) + 20 * more[t * MLQ_POINTS + j];
        }
        float off = own->energy[t] - log_energy(spectrum, MLQ_POINTS, 2 * PER_DB) / (2 * PER_DB);
        for (int j = 0; j < MLQ_POINTS; j++)
            spectrum[j] += off;
    }
}

/* A cubic spline through 0 dB at 0 and 4000 Hz and the points between; its ends have no knot of their own. */
typedef struct {
    float value[MLQ_POINTS + 2], second[MLQ_POINTS + 2];
} spline;

static void spline_through(spline *s, const float *points)
{
    enum { N = MLQ_POINTS + 1 };
    float factor[N + 1];
    float *v = s->value, *second = s->second;
    v[0] = v[N] = 0;
    memcpy(v + 1, points, MLQ_POINTS * sizeof *v);
    factor[1] = 0;
    second[1] = v[2] - 2 * v[1] + v[0];
    for (int i = 2; i < N - 1; i++) {
        factor[i] = 1 / (4 - factor[i - 1]);
        second[i] = (6 * (v[i + 1] - 2 * v[i] + v[i - 1]) - second[i - 1]) * factor[i];
    }
    second[N - 1] = v[N] - 2 * v[N - 1] + v[N - 2];
    for (int i = N - 2; i > 0; i--)
        second[i] -= factor[i] * second[i + 1];
    second[0] = 2 * second[1] - second[2];
    second[N] = 2 * second[N - 1] - second[N - 2];
}

/* Its value at a point, in units of 50 Hz. */
static float spline_at(const spline *s, float point)
{
    int i = (int)point;
    i = i > MLQ_POINTS ? MLQ_POINTS : i;
    float t = point - (float)i, s0 = s->second[i], s1 = s->second[i + 1];
    float slope = s->value[i + 1] - s->value[i] - (2 * s0 + s1) / 6;
    return s->value[i] + t * (slope + t * (s0 / 2 + t * (s1 - s0) / 6));
}

/* From spectra to speech */

/* The transform of MLQ_FFT complex numbers in place, without a factor; `sign` is that of the exponent. */
static void transform(float *re, float *im, float sign)
{
    for (int i = 1, j = 0; i < MLQ_FFT; i++) {
        int bit = MLQ_FFT >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            float r = re[i], m = im[i];
            re[i] = re[j];
            im[i] = im[j];
            re[j] = r;
            im[j] = m;
        }
    }
    for (int half = 1; half < MLQ_FFT; half <<= 1) {
        int step = MLQ_FFT / 2 / half;
        for (int k = 0; k < half; k++) {
            float c = mlq_cosine[k * step], s = sign * mlq_sine[k * step];
            for (int i = k; i < MLQ_FFT; i += 2 * half) {
                int j = i + half;
                float r = re[j] * c - im[j] * s, m = re[j] * s + im[j] * c;
                re[j] = re[i] - r;
                im[j] = im[i] - m;
                re[i] += r;
                im[i] += m;
            }
        }
    }
}

/* Phases [0 .. MLQ_FFT / 2] in `im` of the minimum phase filter with this spectrum, by its cepstrum. */
static void minimum_phase(mlq_decoder *d, const spline *spectrum)
{
    enum { HALF = MLQ_FFT / 2 };
    for (int i = 0; i <= HALF; i++) {
        d->re[i] = spline_at(spectrum, (float)i * (MLQ_POINTS + 1) / HALF);
        if (i > 0 && i < HALF)
            d->re[MLQ_FFT - i] = d->re[i];
    }
    memset(d->im, 0, sizeof d->im);
    transform(d->re, d->im, 1);
    for (int i = 0; i < MLQ_FFT; i++) {
        float fold = i == 0 || i == HALF ? 1 : i < HALF ? 2 : 0;
        d->re[i] *= fold * PER_DB / MLQ_FFT;
    }
    memset(d->im, 0, sizeof d->im);
    transform(d->re, d->im, -1);
}

static float random_phase(mlq_decoder *d)
{
    d->random = d->random * 1103515245u + 12345u;
    return (float)(TWO_PI * (double)((d->random >> 16) & 0x7fff) / 32767);
}

static int16_t sample_of(float x)
{
    if (!(x > -32767)) /* so that NaN, too, ends here */
        return x <= -32767 ? -32767 : 0;
    return (int16_t)(x > 32767 ? 32767 : x);
}

static void speak(mlq_decoder *d, const float *y, float Wo, int voiced, int16_t speech[MLQ_FRAME])
{
    spline plain, sharp;
    float A[MOST_HARMONICS + 1], phi[MOST_HARMONICS + 1], points[MLQ_POINTS];
    int L = (int)floor(PI / (double)Wo);
    if ((double)(Wo * (float)L) >= 0.95 * PI)
        L--;
    L = L > MOST_HARMONICS ? MOST_HARMONICS : L;

    /* Amplitudes: of the postfiltered spectrum, with the energy of y, without the pre-emphasis. */
    float energy = log_energy(y, MLQ_POINTS, 2 * PER_DB) / (2 * PER_DB);
    float off = energy - log_energy(y, MLQ_POINTS, 2 * PER_DB * MLQ_POSTFILTER) / (2 * PER_DB);
    for (int j = 0; j < MLQ_POINTS; j++)
        points[j] = MLQ_POSTFILTER * y[j] + off;
    spline_through(&sharp, points);
    for (int m = 1; m <= L; m++)
        A[m] = spline_at(&sharp, (float)(m * (double)Wo * (MLQ_POINTS + 1) / PI));
    off = energy - log_energy(A + 1, L, 2 * PER_DB) / (2 * PER_DB);
    for (int m = 1; m <= L; m++)
        A[m] = expf(PER_DB * (A[m] + off)) / (2 * sinf(Wo * (float)m / 2));

    /* Phases: the excitation's, random where there is noise, turned by the filter. */
    spline_through(&plain, y);
    minimum_phase(d, &plain);
    float sum = 1e-12f;
    for (int m = 1; m <= L; m++)
        sum += A[m] * A[m];
    float level = 10 * log10f(sum / (float)L);
    if (level < 40 && !voiced)
        d->background = (float)((double)d->background * 0.9 + (double)level * 0.1);
    float noise = (float)pow(10, ((double)d->background + 6) / 20);
    float unwrapped = d->phase + Wo * MLQ_FRAME;
    float turns = floorf((float)((double)unwrapped / TWO_PI + 0.5));
    d->phase = (float)((double)unwrapped - TWO_PI * (double)turns);
    for (int m = 1; m <= L; m++) {
        int bin = (int)floor(m * (double)Wo * MLQ_FFT / TWO_PI + 0.5) - 1;
        float filter = d->im[bin < 0 ? 0 : bin > MLQ_FFT / 2 ? MLQ_FFT / 2 : bin];
        float drawn = random_phase(d), share = fminf(fmaxf(noise / A[m] - 0.5f, 0), 1);
        phi[m] = filter + (voiced ? d->phase * (float)m + share * drawn : drawn);
    }

    /* The analytic signal around the middle of the frame, with a limiter, overlapped with the frame before. */
    memset(d->re, 0, sizeof d->re);
    memset(d->im, 0, sizeof d->im);
    for (int m = 1; m <= L; m++) {
        float position = (float)m * Wo * MLQ_FFT;
        int bin = (int)((double)position / TWO_PI + 0.5);
        bin = bin < 1 ? 1 : bin > MLQ_FFT / 2 - 1 ? MLQ_FFT / 2 - 1 : bin;
        d->re[bin] = 2 * A[m] * cosf(phi[m]);
        d->im[bin] = 2 * A[m] * sinf(phi[m]);
    }
    transform(d->re, d->im, 1);
    float up = 0, down = 1;
    for (int i = 0; i < MLQ_FRAME; i++) {
        int rising = i < MLQ_FRAME - 1 ? MLQ_FFT - MLQ_FRAME + 1 + i : 0, falling = i + 1;
        float magnitude = hypotf(d->re[rising], d->im[rising]);
        float in = d->re[rising] * (magnitude > 32000 ? 32000 / magnitude : 1) * up;
        speech[i] = sample_of(in + d->tail[i]);
        magnitude = hypotf(d->re[falling], d->im[falling]);
        d->tail[i] = i == MLQ_FRAME - 1 ? 0 : d->re[falling] * (magnitude > 32000 ? 32000 / magnitude : 1) * down;
        up = (float)((double)up + 1.0 / MLQ_FRAME);
        down = (float)((double)down - 1.0 / MLQ_FRAME);
    }
}

/* Put a superframe that is lost, and the pitch after it up to a knot, on lines between the frames around. */
static void make_up(const mlq_record *before, mlq_record *own, mlq_record *after)
{
    enum { LAST = MLQ_FRAMES - 1, KNOT = MLQ_FRAMES + MLQ_PITCH_FRAMES };
    float from[20], to[20], pitch = before->log2_f0[LAST];
    float step = (after->log2_f0[MLQ_PITCH_FRAMES - 1] - pitch) / KNOT;
    frame_of(before->shape, LAST, from);
    frame_of(after->shape, 0, to);
    memset(own->shape, 0, sizeof own->shape);
    for (int t = 0; t < MLQ_FRAMES; t++) {
        float part = (float)(t + 1) / (MLQ_FRAMES + 1);
        own->energy[t] = before->energy[LAST] + (after->energy[0] - before->energy[LAST]) * part;
        for (int i = 0; i < MLQ_FRAMES; i++)
            for (int k = 0; k < 20; k++)
                own->shape[20 * i + k] += mlq_over_time[i * MLQ_FRAMES + t] * (from[k] + (to[k] - from[k]) * part);
    }
    for (int t = 0; t < KNOT; t++)
        set_pitch(t < MLQ_FRAMES ? own : after, t % MLQ_FRAMES, pitch + step * (float)(t + 1));
}

static void speak_all(mlq_decoder *d, const mlq_record *after, int16_t *speech)
{
    spectra_of(d, &d->before, &d->own, after);
    for (int t = 0; t < MLQ_FRAMES; t++)
        speak(d, d->spectrum[t], d->own.Wo[t], d->own.voiced[t], speech + t * MLQ_FRAME);
}

/* What is called from outside */

void mlq_init(mlq_decoder *decoder)
{
    memset(decoder, 0, sizeof *decoder);
    decoder->level = -1;
    decoder->random = 1;
}

static int next(mlq_decoder *d, reader *from, int16_t *speech)
{
    mlq_record record;
    record_of(d, from, &record);
    int spoken = d->count > 0;
    if (spoken) {
        if (d->lost && from)
            make_up(&d->before, &d->own, &record);
        speak_all(d, &record, speech);
        d->before = d->own;
    } else {
        d->before = record; /* the first has itself before it */
    }
    d->own = record;
    d->lost = from ? 0 : d->lost + 1;
    d->count = 1;
    return spoken ? MLQ_SAMPLES : 0;
}

int mlq_decode(mlq_decoder *decoder, const uint8_t *bytes, size_t at, int16_t speech[MLQ_SAMPLES])
{
    reader from = {bytes, at};
    return next(decoder, &from, speech);
}

int mlq_lost(mlq_decoder *decoder, int16_t speech[MLQ_SAMPLES])
{
    return next(decoder, NULL, speech);
}

int mlq_flush(mlq_decoder *decoder, int16_t speech[MLQ_SAMPLES])
{
    int spoken = decoder->count > 0;
    if (spoken) {
        mlq_record last = decoder->own;
        speak_all(decoder, &last, speech);
    }
    mlq_init(decoder);
    return spoken ? MLQ_SAMPLES : 0;
}
