# bash completion of hshm; made by `hshm completion bash`
_hshm_segments()
{
    local f
    for f in /dev/shm/hshm*-$UID-*; do
        [[ -e $f ]] && printf '%s\n' "${f#/dev/shm/hshm*-$UID-}"
    done
}

_hshm()
{
    local cur=${COMP_WORDS[COMP_CWORD]} words= commands='run list show who top map owner pointers names put get check dump diff reclaim rm metrics doctor options version completion help'
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "$commands" -- "$cur"))
        return
    fi
    case ${COMP_WORDS[1]} in
    run)
        if [[ $cur == -* ]]; then words='--help --segment= --option= --same-layout --debug --verbose'
        else COMPREPLY=($(compgen -c -- "$cur")); fi ;;
    list)
        if [[ $cur == -* ]]; then words='--help --json'
        else :; fi ;;
    show)
        if [[ $cur == -* ]]; then words='--help --json'
        else words=$(_hshm_segments); fi ;;
    who)
        if [[ $cur == -* ]]; then words='--help --all --json'
        else words=$(_hshm_segments); fi ;;
    top)
        if [[ $cur == -* ]]; then words='--help --delay= --sort= --count= --batch --json'
        else words=$(_hshm_segments); fi ;;
    map)
        if [[ $cur == -* ]]; then words='--help --output= --all --width= --colour --json'
        else words=$(_hshm_segments); fi ;;
    owner)
        if [[ $cur == -* ]]; then words='--help --json'
        else words=$(_hshm_segments); fi ;;
    pointers)
        if [[ $cur == -* ]]; then words='--help --pid= --all --json'
        else words=$(_hshm_segments); fi ;;
    names)
        if [[ $cur == -* ]]; then words='--help --json'
        else words=$(_hshm_segments); fi ;;
    put)
        if [[ $cur == -* ]]; then words='--help --force --json'
        else words=$(_hshm_segments); fi ;;
    get)
        if [[ $cur == -* ]]; then words='--help'
        else words=$(_hshm_segments); fi ;;
    check)
        if [[ $cur == -* ]]; then words='--help --quiet --json'
        else words=$(_hshm_segments); fi ;;
    dump)
        if [[ $cur == -* ]]; then words='--help --stop --json'
        else words=$(_hshm_segments); COMPREPLY=($(compgen -f -- "$cur")); fi ;;
    diff)
        if [[ $cur == -* ]]; then words='--help --json'
        else words=$(_hshm_segments); COMPREPLY=($(compgen -f -- "$cur")); fi ;;
    reclaim)
        if [[ $cur == -* ]]; then words='--help --dry-run --json'
        else words=$(_hshm_segments); fi ;;
    rm)
        if [[ $cur == -* ]]; then words='--help --force --json'
        else words=$(_hshm_segments); fi ;;
    metrics)
        if [[ $cur == -* ]]; then words='--help --output= --json'
        else words=$(_hshm_segments); fi ;;
    doctor)
        if [[ $cur == -* ]]; then words='--help --json'
        else words=$(cd /proc && echo [0-9]*); fi ;;
    options)
        if [[ $cur == -* ]]; then words='--help --markdown --man --json'
        else :; fi ;;
    version)
        if [[ $cur == -* ]]; then words='--help --json'
        else :; fi ;;
    completion)
        if [[ $cur == -* ]]; then words='--help'
        else words='bash zsh fish'; fi ;;
    help)
        if [[ $cur == -* ]]; then words='--help --man --json'
        else words=$commands; fi ;;
    esac
    COMPREPLY+=($(compgen -W "$words" -- "$cur"))
    [[ ${COMPREPLY-} == *= ]] && compopt -o nospace
}
complete -F _hshm hshm
