# Completion of inturn for fish: inturn completion fish | source
function __inturn_complete
    set -l words (commandline -opc)
    set -l found ($words[1] completion candidates -- $words[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c inturn -f -a '(__inturn_complete)'
