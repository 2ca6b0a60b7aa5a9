/* What a Cortex-M4F does before newlib's start: it takes the stack and turns the floating-point unit on. */
#include <stdint.h>

extern void _start(void);

void _init(void)
{
}

void _fini(void)
{
}

void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm volatile("dsb\nisb");
    _start();
}

static void fault(void)
{
    for (;;)
        ;
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))0x20400000, reset, fault, fault, fault, fault, fault};
