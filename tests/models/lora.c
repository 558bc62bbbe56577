/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lora - trains a low-rank change of one matrix of a small Llama: the last block's ffn_down, all
 * else stays as it is. The arithmetic of train.py, which says what is in the model's file, and
 * reads and writes everything.
 *
 * On stdin, words with blanks between: the model's file; layers, width, heads, heads of keys, the
 * ffn's width, the vocabulary's size; the rope's base; the rank, alpha, the steps. Then for each
 * tensor of `tensors` below its type (0 = F32, 3 = Q4_1, 8 = Q8_0) and its place in the file. Then
 * how many examples; of each how many tokens, how many of them are the prompt, the tokens. On
 * stdout: A and B as floats, on stderr the loss.
 *
 * Sources: ggml's block formats; the Llama architecture as llama.cpp computes it (RMS norms, rotary
 * positions of neighbouring pairs, grouped queries, SwiGLU); LoRA (Hu et al., 2021); Adam.
 */
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 32, LAYERS_MAX = 64, TOKENS_MAX = 512, HEAD_MAX = 256 };
enum tensor { ATTN_NORM, Q, K, V, OUT, FFN_NORM, GATE, UP, DOWN, TENSORS };
static const float EPSILON = 1e-5F, RATE = 2e-2F;

struct matrix {
    int type;
    size_t place;
};

static const uint8_t *file;
static long layers, width, heads, key_heads, inner, words, rank, steps;
static double rope_base, alpha;
static struct matrix tensors[LAYERS_MAX][TENSORS], embedding, last_norm;

static void *room(size_t count, size_t size)
{
    void *at = calloc(count, size);
    if (!at) {
        perror("lora");
        exit(1);
    }
    return at;
}

static double number(void)
{
    double value;
    if (scanf("%lf", &value) != 1) {
        fprintf(stderr, "lora: a number is missing\n");
        exit(2);
    }
    return value;
}

static struct matrix matrix_of(void)
{
    int type = (int)number();
    return (struct matrix){type, (size_t)number()};
}

/* --------------------------------------------------------------------------- what is in the file
 */

static float half(const uint8_t *at)
{
    uint16_t bits;
    memcpy(&bits, at, 2);
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value =
        exponent ? ldexpf((float)(fraction | 1024), exponent - 25) : ldexpf((float)fraction, -24);
    return bits >> 15 ? -value : value;
}

/* Row <row> of a matrix whose rows are <length> long. */
static void read_row(const struct matrix *matrix, long row, long length, float *into)
{
    const uint8_t *at = file + matrix->place;
    if (matrix->type == 0) {
        memcpy(into, at + (size_t)row * (size_t)length * 4, (size_t)length * 4);
        return;
    }
    size_t bytes = matrix->type == 3 ? 4 + BLOCK / 2 : 2 + BLOCK;
    at += (size_t)row * (size_t)(length / BLOCK) * bytes;
    for (long i = 0; i < length; i += BLOCK, at += bytes) {
        float scale = half(at), least = matrix->type == 3 ? half(at + 2) : 0;
        for (int j = 0; j < BLOCK; j++) {
            uint8_t pair = at[4 + j % 16];
            into[i + j] = matrix->type == 3
                              ? scale * (float)(j < 16 ? pair & 15 : pair >> 4) + least
                              : scale * (float)(int8_t)at[2 + j];
        }
    }
}

static float dot(const float *a, const float *b, long length)
{
    float sum[8] = {0};
    for (long i = 0; i < length; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += a[i + j] * b[i + j];
    return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

/* For all <count> vectors at once: each row is read once. */
static void multiply(const struct matrix *matrix, long rows, long length, const float *in,
                     float *out, long count)
{
    float *row = room((size_t)length, sizeof *row);
    for (long r = 0; r < rows; r++) {
        read_row(matrix, r, length, row);
        for (long i = 0; i < count; i++)
            out[i * rows + r] = dot(row, in + i * length, length);
    }
    free(row);
}

/* ----------------------------------------------------------------------------------- the model */

static float rms(const float *x)
{
    return sqrtf(dot(x, x, width) / (float)width + EPSILON);
}

static void norm(const struct matrix *weights, const float *x, float *out, long count)
{
    float *scale = room((size_t)width, sizeof *scale);
    read_row(weights, 0, width, scale);
    for (long i = 0; i < count; i++) {
        float by = rms(x + i * width);
        for (long j = 0; j < width; j++)
            out[i * width + j] = x[i * width + j] / by * scale[j];
    }
    free(scale);
}

static void turn(float *x, long position, long count)
{
    long size = width / heads;
    for (long head = 0; head < count; head++)
        for (long i = 0; i < size; i += 2) {
            double angle = (double)position * pow(rope_base, -(double)i / (double)size);
            float c = (float)cos(angle), s = (float)sin(angle);
            float *pair = x + head * size + i, a = pair[0], b = pair[1];
            pair[0] = a * c - b * s;
            pair[1] = a * s + b * c;
        }
}

static void attend(const float *q, const float *k, const float *v, float *out, long count)
{
    long size = width / heads, key_width = size * key_heads;
    float weight[TOKENS_MAX];
    for (long i = 0; i < count; i++)
        for (long head = 0; head < heads; head++) {
            long from = head / (heads / key_heads) * size;
            float most = -INFINITY, sum = 0;
            for (long j = 0; j <= i; j++) {
                weight[j] = dot(q + i * width + head * size, k + j * key_width + from, size) /
                            sqrtf((float)size);
                most = weight[j] > most ? weight[j] : most;
            }
            for (long j = 0; j <= i; j++)
                sum += weight[j] = expf(weight[j] - most);
            for (long d = 0; d < size; d++) {
                float value = 0;
                for (long j = 0; j <= i; j++)
                    value += weight[j] / sum * v[j * key_width + from + d];
                out[i * width + head * size + d] = value;
            }
        }
}

static void add(float *to, const float *more, long count)
{
    for (long i = 0; i < count; i++)
        to[i] += more[i];
}

/* One block. <gated>: what ffn_down gets. */
static void block(struct matrix *t, float *x, float *gated, long count)
{
    long key_width = width / heads * key_heads;
    size_t all = (size_t)count;
    float *h = room(all * (size_t)width, sizeof *h), *q = room(all * (size_t)width, sizeof *q),
          *k = room(all * (size_t)key_width, sizeof *k),
          *v = room(all * (size_t)key_width, sizeof *v), *o = room(all * (size_t)width, sizeof *o),
          *up = room(all * (size_t)inner, sizeof *up);
    norm(&t[ATTN_NORM], x, h, count);
    multiply(&t[Q], width, width, h, q, count);
    multiply(&t[K], key_width, width, h, k, count);
    multiply(&t[V], key_width, width, h, v, count);
    for (long i = 0; i < count; i++) {
        turn(q + i * width, i, heads);
        turn(k + i * key_width, i, key_heads);
    }
    attend(q, k, v, o, count);
    multiply(&t[OUT], width, width, o, h, count);
    add(x, h, count * width);
    norm(&t[FFN_NORM], x, h, count);
    multiply(&t[GATE], inner, width, h, gated, count);
    multiply(&t[UP], inner, width, h, up, count);
    for (long i = 0; i < count * inner; i++)
        gated[i] = gated[i] / (1 + expf(-gated[i])) * up[i];
    multiply(&t[DOWN], width, inner, gated, h, count);
    add(x, h, count * width);
    free(h), free(q), free(k), free(v), free(o), free(up);
}

/* ------------------------------------------------------------------------------- what is learnt */

/* A place where a token is to be said: what it is, what there is without a change, and what the
 * change is made of. */
struct lesson {
    long token;
    float *base, *gated;
};

static struct lesson *lessons;
static long lesson_count;

static void learn_example(void)
{
    long count = (long)number(), prompt = (long)number();
    long tokens[TOKENS_MAX];
    if (count < 2 || count > TOKENS_MAX || prompt < 1 || prompt >= count) {
        fprintf(stderr, "lora: an example has 2 to %d tokens\n", TOKENS_MAX);
        exit(2);
    }
    float *x = room((size_t)(count * width), sizeof *x),
          *gated = room((size_t)(count * inner), sizeof *gated);
    for (long i = 0; i < count; i++) {
        tokens[i] = (long)number();
        read_row(&embedding, tokens[i], width, x + i * width);
    }
    for (long i = 0; i < layers; i++)
        block(tensors[i], x, gated, count);
    lessons = realloc(lessons, (size_t)(lesson_count + count) * sizeof *lessons);
    for (long i = prompt; i < count; i++) /* what stands before says it */
        lessons[lesson_count++] =
            (struct lesson){tokens[i], x + (i - 1) * width, gated + (i - 1) * inner};
}

struct change {
    float *value, *slope, *first, *second;
    long count;
};

static struct change change_new(long count)
{
    size_t all = (size_t)count;
    return (struct change){room(all, 4), room(all, 4), room(all, 4), room(all, 4), count};
}

static void change_step(struct change *change, long step)
{
    for (long i = 0; i < change->count; i++) {
        float slope = change->slope[i] / (float)lesson_count;
        change->first[i] = 0.9F * change->first[i] + 0.1F * slope;
        change->second[i] = 0.99F * change->second[i] + 0.01F * slope * slope;
        float first = change->first[i] / (1 - powf(0.9F, (float)step)),
              second = change->second[i] / (1 - powf(0.99F, (float)step));
        change->value[i] -= RATE * first / (sqrtf(second) + 1e-8F);
        change->slope[i] = 0;
    }
}

struct desk {
    float *head, *scale, *logits; /* the embedding, as floats; the last norm's; one lesson's */
    struct change a, b;
};

/* Its loss; what would lower it is added to the slopes. */
static float teach(struct desk *desk, const struct lesson *lesson)
{
    float low[BLOCK], back[BLOCK] = {0}, by = (float)(alpha / (double)rank);
    float *z = room((size_t)width * 3, sizeof *z), *y = z + width, *slope = y + width;
    for (long r = 0; r < rank; r++)
        low[r] = dot(desk->a.value + r * inner, lesson->gated, inner);
    for (long i = 0; i < width; i++) {
        z[i] = lesson->base[i];
        for (long r = 0; r < rank; r++)
            z[i] += by * desk->b.value[i * rank + r] * low[r];
    }
    float size = rms(z), most = -INFINITY, sum = 0;
    for (long i = 0; i < width; i++)
        y[i] = z[i] / size * desk->scale[i];
    for (long w = 0; w < words; w++) {
        desk->logits[w] = dot(desk->head + w * width, y, width);
        most = desk->logits[w] > most ? desk->logits[w] : most;
    }
    for (long w = 0; w < words; w++)
        sum += expf(desk->logits[w] - most);
    float loss = logf(sum) + most - desk->logits[lesson->token];
    for (long w = 0; w < words; w++) {
        float wrong = expf(desk->logits[w] - most) / sum - (w == lesson->token ? 1.0F : 0.0F);
        if (fabsf(wrong) > 1e-6F)
            for (long i = 0; i < width; i++)
                slope[i] += wrong * desk->head[w * width + i];
    }
    float along = 0;
    for (long i = 0; i < width; i++) {
        slope[i] *= desk->scale[i];
        along += slope[i] * z[i] / size;
    }
    for (long i = 0; i < width; i++) {
        float own = (slope[i] - z[i] / size * along / (float)width) / size;
        for (long r = 0; r < rank; r++) {
            desk->b.slope[i * rank + r] += by * own * low[r];
            back[r] += by * own * desk->b.value[i * rank + r];
        }
    }
    for (long r = 0; r < rank; r++)
        for (long i = 0; i < inner; i++)
            desk->a.slope[r * inner + i] += back[r] * lesson->gated[i];
    free(z);
    return loss;
}

static void train(struct desk *desk)
{
    for (long step = 1; step <= steps; step++) {
        float loss = 0;
        for (long i = 0; i < lesson_count; i++)
            loss += teach(desk, &lessons[i]);
        loss /= (float)lesson_count;
        fprintf(stderr, "step %ld of %ld: loss %.4f\n", step, steps, (double)loss);
        if (loss < 0.01F)
            return;
        change_step(&desk->a, step);
        change_step(&desk->b, step);
    }
}

static void read_model(void)
{
    char path[4096];
    struct stat facts;
    int fd = scanf("%4095s", path) == 1 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0 || fstat(fd, &facts) != 0) {
        perror("lora");
        exit(1);
    }
    file = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    long *sizes[] = {&layers, &width, &heads, &key_heads, &inner, &words};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        *sizes[i] = (long)number();
    rope_base = number();
    rank = (long)number();
    alpha = number();
    steps = (long)number();
    if (file == MAP_FAILED || layers < 1 || layers > LAYERS_MAX || rank < 1 || rank > BLOCK) {
        fprintf(stderr, "lora: not such a model, or such a rank\n");
        exit(2);
    }
    embedding = matrix_of();
    last_norm = matrix_of();
    for (long i = 0; i < layers; i++)
        for (int t = 0; t < TENSORS; t++)
            tensors[i][t] = matrix_of();
}

int main(void)
{
    read_model();
    for (long left = (long)number(); left > 0; left--)
        learn_example();
    struct desk desk = {.head = room((size_t)(words * width), 4),
                        .scale = room((size_t)width, 4),
                        .logits = room((size_t)words, 4),
                        .a = change_new(rank * inner),
                        .b = change_new(width * rank)};
    for (long w = 0; w < words; w++)
        read_row(&embedding, w, width, desk.head + w * width);
    read_row(&last_norm, 0, width, desk.scale);
    srand(1);
    for (long i = 0; i < desk.a.count; i++) /* B begins with nothing: so does the change */
        desk.a.value[i] = ((float)rand() / (float)RAND_MAX - 0.5F) / sqrtf((float)inner);
    train(&desk);
    bool written = fwrite(desk.a.value, 4, (size_t)desk.a.count, stdout) == (size_t)desk.a.count &&
                   fwrite(desk.b.value, 4, (size_t)desk.b.count, stdout) == (size_t)desk.b.count &&
                   fflush(stdout) == 0;
    return written ? 0 : 1;
}
