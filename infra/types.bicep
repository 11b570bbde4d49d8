// Types of parameters that more than one file has.

@export()
@description('A storage account that Network Watcher writes flow logs to.')
type flowLogAccountType = {
  @description('Name of the account.')
  name: string
  @description('Its resource group.')
  resourceGroup: string
  @description('Its subscription, if it is another one than the app\'s.')
  subscriptionId: string?
  @description('The Event Grid system topic that it has already. Azure allows one for each account.')
  systemTopicName: string?
  @description('Resource group of that topic, existing or to be made, if it is not the account\'s.')
  systemTopicResourceGroup: string?
}

@export()
@description('Names and values to tag resources with.')
type tagsType = {
  *: string
}

@export()
@description('How often, and where, Azure keeps copies of what an account holds.')
type skuType = 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' | 'Standard_GZRS' | 'Standard_RAGRS' | 'Standard_RAGZRS'

@export()
@description('Resource ids of private DNS zones by service; what is missing is made.')
type zoneIdsType = {
  blob: string?
  queue: string?
  table: string?
}

@export()
@description('A private endpoint to a storage account.')
type endpointType = {
  name: string
  account: { name: string, resourceGroup: string, subscriptionId: string? }
  service: 'blob' | 'queue' | 'table'
  @description('Empty: approved by whoever deploys. Else what the account\'s owner is asked for.')
  request: string
}
