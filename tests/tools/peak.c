/* SPDX-License-Identifier: MIT
 * peak [-r] FILE COMMAND...: runs a command and writes the most memory that was resident at any time (-r: what was read from disks for it), in
 * bytes, to FILE. Exits as the command does; 125 when it cannot be run or died by a signal. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    const int reads = argc > 1 && !strcmp(argv[1], "-r");
    char **const command = argv + 2 + reads;
    int status;
    if (argc < 3 + reads) {
        fputs("usage: peak [-r] FILE COMMAND...\n", stderr);
        return 125;
    }
    pid_t pid = vfork(); /* a forked child would count this process's memory as its own */
    if (pid == 0) {
        execvp(command[0], command);
        _exit(125);
    }
    FILE *f = fopen(command[-1], "w");
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || !f)
        return 125;
    fprintf(f, "%ld\n", reads ? usage.ru_inblock * 512 : usage.ru_maxrss * 1024);
    return fclose(f) || !WIFEXITED(status) ? 125 : WEXITSTATUS(status);
}
